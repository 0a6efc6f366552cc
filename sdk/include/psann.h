// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The interface between psann and a plugin, version 1. docs/abi.md says in words what must hold.
//
// Generated from sdk/src/abi.rs; do not edit. This writes it anew:
//     UPDATE_HEADER=1 cargo test -p psann-sdk --test header

#ifndef PSANN_H
#define PSANN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A source or filter with its options; the plugin knows what is behind it.
typedef struct PsannHandle PsannHandle;

// The major version; it is part of the entry symbol's name.
#define PSANN_ABI_MAJOR 1

// The minor version: fields that were appended since 1.0.
#define PSANN_ABI_MINOR 0

// Success.
#define PSANN_OK 0

// The work failed: an input, a disk, a service.
#define PSANN_FAILED 1

// What the user asked for is wrong: an option, a name.
#define PSANN_USAGE 2

// The plugin stopped because the host said so.
#define PSANN_CANCELLED 3

// The plugin met a mistake of its own (in Rust: a panic). The handle is of no more use.
#define PSANN_PANIC 4

// The handle met such a mistake before.
#define PSANN_POISONED 5

// There is no component of that name, or no such partition.
#define PSANN_UNKNOWN 6

// Levels of log lines: an error, a warning, information.
#define PSANN_LOG_ERROR 1

// A warning.
#define PSANN_LOG_WARNING 2

// Information.
#define PSANN_LOG_INFO 3

// A flag of interfaces: one handle may be called from several threads at once.
#define PSANN_THREAD_SAFE 1

// The errno that a stream returns when the host asked to stop (ECANCELED of Linux).
#define PSANN_ECANCELED 125

// Text: UTF-8, not terminated, valid during the call that it is passed to. `data` may be null if `length` is 0.
typedef struct PsannStr {
    // The first byte.
    const uint8_t *data;
    // Bytes.
    size_t length;
} PsannStr;

// What the host does for plugins. Lives as long as the process. All functions may be called from any thread.
typedef struct PsannHost {
    // Bytes of this struct on the host's side: fields beyond it are not there.
    uint32_t struct_size;
    // Version of the interface that the host speaks.
    uint16_t abi_major;
    // Its minor version.
    uint16_t abi_minor;
    // The host's own; the first argument of the functions below.
    void *context;
    // Writes a line to the user's log.
    void (*log)(void *context, int32_t level, struct PsannStr message);
    // Adds `value` to a named number of the run's report.
    void (*metric)(void *context, struct PsannStr name, double value);
    // Not 0 when the user asked to stop: long work returns `PSANN_CANCELLED` soon.
    int32_t (*is_cancelled)(void *context);
} PsannHost;

// What went wrong. The host allocates it, zeroed; a plugin that returns anything but `PSANN_OK` fills it.
typedef struct PsannError {
    // The code that the function returned.
    int32_t code;
    // What and where, in a sentence without full stop.
    struct PsannStr message;
    // How to mend it; may be empty.
    struct PsannStr hint;
    // Anything else, as a JSON object; may be empty.
    struct PsannStr detail_json;
    // The plugin's own.
    void *private_data;
    // Frees the texts and nulls all fields, this one included. Null if there is nothing to free.
    void (*release)(struct PsannError*);
} PsannError;

// What a plugin is. The entry symbol returns a pointer to one that lives as long as the process.
typedef struct PsannPlugin {
    // Bytes of this struct on the plugin's side: fields beyond it are not there. This and the next two never move.
    uint32_t struct_size;
    // `PSANN_ABI_MAJOR`.
    uint16_t abi_major;
    // `PSANN_ABI_MINOR`.
    uint16_t abi_minor;
    // Who this is and what it offers, as JSON; valid as long as the process.
    struct PsannStr manifest_json;
    // Called once, before everything else; keeps the host's table.
    int32_t (*init)(const struct PsannHost *host, struct PsannError *error);
    // The table of an interface by its id, valid as long as the process; null if it is not offered.
    const void *(*get_interface)(struct PsannStr id);
    // May be called once at the end of the process, when no handle is left; nothing depends on it. May be null.
    void (*shutdown)(void);
} PsannPlugin;

// The entry symbol `psann_plugin_v1`.
typedef const struct PsannPlugin *(*PsannEntry)(void);

// Text that the plugin hands over, UTF-8. The host copies it and calls `release` at once.
typedef struct PsannText {
    // The first byte.
    const uint8_t *data;
    // Bytes.
    size_t length;
    // The plugin's own.
    void *private_data;
    // Frees the text and nulls all fields, this one included. Null if there is nothing to free.
    void (*release)(struct PsannText*);
} PsannText;

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

// The type of an array: https://arrow.apache.org/docs/format/CDataInterface.html.
typedef struct ArrowSchema {
    // The type, as a format string.
    const char *format;
    // The name of a field.
    const char *name;
    // Encoded key-value pairs; may be null.
    const char *metadata;
    // Bits: 2 says that values may be null.
    int64_t flags;
    // Number of children.
    int64_t n_children;
    // The children.
    struct ArrowSchema **children;
    // The type of a dictionary's values; null here.
    struct ArrowSchema *dictionary;
    // Frees it; null in a schema that was released.
    void (*release)(struct ArrowSchema*);
    // The producer's own.
    void *private_data;
} ArrowSchema;

// The values of an array: https://arrow.apache.org/docs/format/CDataInterface.html.
typedef struct ArrowArray {
    // Number of values.
    int64_t length;
    // Number of nulls; -1 if it was not counted.
    int64_t null_count;
    // The place of the first value in the buffers.
    int64_t offset;
    // Number of buffers.
    int64_t n_buffers;
    // Number of children.
    int64_t n_children;
    // The buffers.
    const void **buffers;
    // The children.
    struct ArrowArray **children;
    // A dictionary's values; null here.
    struct ArrowArray *dictionary;
    // Frees it; null in an array that was released.
    void (*release)(struct ArrowArray*);
    // The producer's own.
    void *private_data;
} ArrowArray;

#endif  /* ARROW_C_DATA_INTERFACE */

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

// A stream of arrays of one type: https://arrow.apache.org/docs/format/CStreamInterface.html.
typedef struct ArrowArrayStream {
    // The type of all arrays. 0, or an errno.
    int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema *out);
    // The next array, or a released one at the end. 0, or an errno.
    int (*get_next)(struct ArrowArrayStream*, struct ArrowArray *out);
    // What the last error was, null-terminated and valid until the next call; may be null.
    const char *(*get_last_error)(struct ArrowArrayStream*);
    // Frees it; null in a stream that was released.
    void (*release)(struct ArrowArrayStream*);
    // The producer's own.
    void *private_data;
} ArrowArrayStream;

#endif  /* ARROW_C_STREAM_INTERFACE */

// Interface `psann.source/1`.
typedef struct PsannSource {
    // Bytes of this struct on the plugin's side.
    uint32_t struct_size;
    // `PSANN_THREAD_SAFE` or 0. Without it the host makes one handle per thread.
    uint32_t flags;
    // Makes the component called `name` with these options, a JSON object. Cheap: no input is opened.
    int32_t (*create)(struct PsannStr name, struct PsannStr options_json, PsannHandle **handle, struct PsannError *error);
    // Frees a handle, also a poisoned one. All its streams were released before.
    void (*destroy)(PsannHandle *handle);
    // A text that changes when the content changes.
    int32_t (*identity)(PsannHandle *handle, struct PsannText *text, struct PsannError *error);
    // The independent pieces, in order: a JSON array of `{"name": "a message calls it so", "bytes": 0}`.
    int32_t (*partitions)(PsannHandle *handle, struct PsannText *json, struct PsannError *error);
    // Opens a piece, at its start if `resume` is empty, or behind the batch at which `position` said `resume`.
    int32_t (*open)(PsannHandle *handle,
                    uint64_t partition,
                    struct PsannStr resume,
                    struct ArrowArrayStream *stream,
                    struct PsannError *error);
    // The place behind the last batch of a stream that this handle opened, for `open`.
    int32_t (*position)(PsannHandle *handle,
                        const struct ArrowArrayStream *stream,
                        struct PsannText *resume,
                        struct PsannError *error);
} PsannSource;

// Interface `psann.filter/1`.
typedef struct PsannFilter {
    // Bytes of this struct on the plugin's side.
    uint32_t struct_size;
    // `PSANN_THREAD_SAFE` or 0. Without it the host makes one handle per thread.
    uint32_t flags;
    // Makes the component called `name` with these options, a JSON object.
    int32_t (*create)(struct PsannStr name, struct PsannStr options_json, PsannHandle **handle, struct PsannError *error);
    // Frees a handle, also a poisoned one.
    void (*destroy)(PsannHandle *handle);
    // A text that changes when the files that the filter reads change; may be empty.
    int32_t (*identity)(PsannHandle *handle, struct PsannText *text, struct PsannError *error);
    // What the filter reads and says, as JSON:
    // `{"columns": ["text"], "reasons": ["too short"], "scores": ["letters"], "rewrites": false}`.
    int32_t (*bind)(PsannHandle *handle, struct PsannText *json, struct PsannError *error);
    // Judges a batch of the columns that `bind` named, in that order. The batch is the host's and valid during the call.
    // The verdicts and their schema are the host's to release.
    int32_t (*apply)(PsannHandle *handle,
                     const struct ArrowArray *batch,
                     struct ArrowArray *verdicts,
                     struct ArrowSchema *schema,
                     struct PsannError *error);
} PsannFilter;

#if defined(__GNUC__)
#define PSANN_EXPORT __attribute__((visibility("default")))
#else
#define PSANN_EXPORT
#endif

// The entry symbol: what psann asks a library for. A plugin defines it.
PSANN_EXPORT const PsannPlugin *psann_plugin_v1(void);

#ifdef __cplusplus
}
#endif

#endif  /* PSANN_H */
