// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A source for psann in C11 and POSIX, without any library: the lines of a text file, a document each.
//
// From top to bottom: who the plugin is, errors, options, the source's handle, the stream of batches, the tables.
// docs/abi.md says what must hold at each step.

#define _POSIX_C_SOURCE 200809L

#include <psann.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// A text that lives as long as the process.
#define TEXT(array) { (const uint8_t *)(array), sizeof(array) - 1 }

// Read before anything else is called. The options are a JSON schema: psann checks recipes by it and shows it as help.
// `x-path` says that a relative path starts at the recipe's folder.
static const char MANIFEST[] =
    "{\"id\": \"org.example.lines\", \"version\": \"1.0.0\", \"licence\": \"MIT OR Apache-2.0\","
    " \"description\": \"Lines of text files\","
    " \"components\": [{\"interface\": \"psann.source/1\", \"name\": \"lines\", \"version\": 1, \"primary\": \"path\","
    "  \"options\": {\"type\": \"object\", \"additionalProperties\": false,"
    "   \"description\": \"The lines of a text file, a document each; empty lines are left out.\","
    "   \"properties\": {\"path\": {\"type\": \"string\", \"x-path\": true, \"description\": \"The file.\"}}}}]}";

static const char PARTITIONS[] = "[{\"name\": \"lines\"}]";

// Documents that are handed over at once, at most.
enum { BATCH = 512 };

// Set once by `init`, before any other thread is there.
static const PsannHost *host;

static bool equals(PsannStr text, const char *expected)
{
    return text.length == strlen(expected) && memcmp(text.data, expected, text.length) == 0;
}

// ---------------------------------------------------------------------------------------------------------- errors

static void release_error(PsannError *error)
{
    free(error->private_data);
    // All fields are zero afterwards: nothing can be released twice.
    *error = (PsannError){ 0 };
}

// A text of its own; null if there is no memory.
static char *written(const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text != NULL) {
        vsnprintf(text, (size_t)length + 1, format, values);
    }
    return text;
}

// Says what went wrong and returns `code`. `hint` lives as long as the process.
static int32_t fail(PsannError *error, int32_t code, const char *hint, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *message = written(format, values);
    va_end(values);
    const char *said = message != NULL ? message : "out of memory";
    *error = (PsannError){
        .code = code,
        .message = { (const uint8_t *)said, strlen(said) },
        .hint = { (const uint8_t *)hint, strlen(hint) },
        .private_data = message,
        .release = release_error,
    };
    return code;
}

// --------------------------------------------------------------------------------------------------------- options

static const char SHAPE[] = "options are a JSON object such as `{\"path\": \"notes.txt\"}`";

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && memchr(" \t\n\r", *at, 4) != NULL) {
        at++;
    }
    return at;
}

// Reads a string of JSON behind its opening quote into memory of its own; null if it is none. psann writes everything but
// quotes, backslashes and control characters as it is.
static char *read_string(const char **at, const char *end)
{
    char *text = malloc((size_t)(end - *at) + 1);
    size_t length = 0;
    for (const char *next = *at; text != NULL && next < end; next++) {
        if (*next == '"') {
            text[length] = '\0';
            *at = next + 1;
            return text;
        }
        if (*next != '\\') {
            text[length++] = *next;
            continue;
        }
        next++;
        static const char NAMES[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
        const char *name = next < end ? memchr(NAMES, *next, sizeof NAMES - 1) : NULL;
        if (name == NULL) {
            break;
        }
        text[length++] = MEANT[name - NAMES];
    }
    free(text);
    return NULL;
}

// Reads `{"path": "notes.txt"}`; `*path` is the caller's to free, also after a failure.
static int32_t read_options(PsannStr options, char **path, PsannError *error)
{
    const char *at = (const char *)options.data, *end = at + options.length;
    at = skip_space(at, end);
    if (at == end || *at++ != '{') {
        return fail(error, PSANN_USAGE, SHAPE, "the options are no JSON object");
    }
    for (at = skip_space(at, end); at < end && *at != '}'; at = skip_space(at, end)) {
        char *name = *at == '"' ? (at++, read_string(&at, end)) : NULL;
        at = skip_space(at, end);
        if (name == NULL || at == end || *at++ != ':') {
            free(name);
            return fail(error, PSANN_USAGE, SHAPE, "the options are no JSON object");
        }
        if (strcmp(name, "path") != 0) {
            int32_t code = fail(error, PSANN_USAGE, "there is one option, `path`", "unknown option `%s`", name);
            free(name);
            return code;
        }
        free(name);
        at = skip_space(at, end);
        free(*path);
        *path = at < end && *at == '"' ? (at++, read_string(&at, end)) : NULL;
        if (*path == NULL) {
            return fail(error, PSANN_USAGE, SHAPE, "option `path` must be a string");
        }
        at = skip_space(at, end);
        if (at < end && *at == ',') {
            at++;
        }
    }
    if (at == end || skip_space(at + 1, end) != end) {
        return fail(error, PSANN_USAGE, SHAPE, "the options are no JSON object");
    }
    if (*path == NULL) {
        return fail(error, PSANN_USAGE, "name the file: `path: \"notes.txt\"`", "option `path` is missing");
    }
    return PSANN_OK;
}

// ---------------------------------------------------------------------------------------------------------- handle

// Never changed once it is made, so threads may share it: the table says PSANN_THREAD_SAFE.
struct PsannHandle {
    char *path;
};

static int32_t create(PsannStr name, PsannStr options, PsannHandle **handle, PsannError *error)
{
    if (!equals(name, "lines")) {
        return fail(error, PSANN_UNKNOWN, "there is one source, `lines`", "has no source `%.*s`", (int)name.length,
                    (const char *)name.data);
    }
    PsannHandle *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return fail(error, PSANN_FAILED, "", "out of memory");
    }
    int32_t code = read_options(options, &made->path, error);
    if (code != PSANN_OK) {
        free(made->path);
        free(made);
        return code;
    }
    *handle = made;
    return PSANN_OK;
}

static void destroy(PsannHandle *handle)
{
    free(handle->path);
    free(handle);
}

static void release_text(PsannText *text)
{
    free(text->private_data);
    *text = (PsannText){ 0 };
}

// Hands over a text that was written with `format`.
static int32_t give(PsannText *text, PsannError *error, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *made = written(format, values);
    va_end(values);
    if (made == NULL) {
        return fail(error, PSANN_FAILED, "", "out of memory");
    }
    *text = (PsannText){
        .data = (const uint8_t *)made,
        .length = strlen(made),
        .private_data = made,
        .release = release_text,
    };
    return PSANN_OK;
}

// Changes when the file does: psann reads it again then.
static int32_t identity(PsannHandle *handle, PsannText *text, PsannError *error)
{
    struct stat about;
    if (stat(handle->path, &about) != 0) {
        return fail(error, PSANN_FAILED, "check `path`", "cannot read `%s`: %s", handle->path, strerror(errno));
    }
    return give(text, error, "%s %" PRIdMAX " %" PRIdMAX ".%09ld", handle->path, (intmax_t)about.st_size,
                (intmax_t)about.st_mtim.tv_sec, about.st_mtim.tv_nsec);
}

static int32_t partitions(PsannHandle *handle, PsannText *json, PsannError *error)
{
    (void)handle, (void)error;
    json->data = (const uint8_t *)PARTITIONS;
    json->length = sizeof PARTITIONS - 1;
    // `release` stays null: there is nothing to free.
    return PSANN_OK;
}

// ---------------------------------------------------------------------------------------------------------- stream

// What is behind a stream.
typedef struct {
    FILE *file;
    // The place behind the last line that was handed over, in bytes.
    intmax_t place;
    char message[256];
} Stream;

// A batch: rows are a struct array, whose only child is the column `text`.
typedef struct {
    const void *no_buffers[1];
    const void *buffers[3];
    struct ArrowArray column;
    struct ArrowArray *columns[1];
    int64_t offsets[BATCH + 1];
    char *bytes;
} Batch;

static void release_column(struct ArrowArray *array)
{
    // What it holds is the batch's.
    array->release = NULL;
}

static void release_batch(struct ArrowArray *array)
{
    Batch *batch = array->private_data;
    free(batch->bytes);
    free(batch);
    array->release = NULL;
}

static int say(Stream *stream, int number, const char *what)
{
    snprintf(stream->message, sizeof stream->message, "%s", what);
    return number;
}

// Reads lines into a batch; their number, or -1 if there is no memory or the file cannot be read.
static int64_t fill(Stream *stream, Batch *batch)
{
    char *line = NULL;
    size_t room = 0, length = 0;
    int64_t rows = 0;
    ssize_t count;
    while (rows < BATCH && (count = getline(&line, &room, stream->file)) != -1) {
        stream->place += count;
        while (count > 0 && (line[count - 1] == '\n' || line[count - 1] == '\r')) {
            count--;
        }
        if (count == 0) {
            continue;
        }
        char *grown = realloc(batch->bytes, length + (size_t)count);
        if (grown == NULL) {
            free(line);
            return -1;
        }
        memcpy(grown + length, line, (size_t)count);
        batch->bytes = grown;
        length += (size_t)count;
        batch->offsets[++rows] = (int64_t)length;
    }
    free(line);
    return ferror(stream->file) ? -1 : rows;
}

static int get_next(struct ArrowArrayStream *self, struct ArrowArray *out)
{
    Stream *stream = self->private_data;
    if (host->is_cancelled(host->context)) {
        return say(stream, PSANN_ECANCELED, "stopped");
    }
    Batch *batch = calloc(1, sizeof *batch);
    int64_t rows = batch == NULL ? -1 : fill(stream, batch);
    if (rows <= 0) {
        free(batch == NULL ? NULL : batch->bytes);
        free(batch);
        // A released array is the end.
        *out = (struct ArrowArray){ 0 };
        return rows == 0 ? 0 : say(stream, EIO, "the file cannot be read on");
    }
    batch->buffers[1] = batch->offsets;
    batch->buffers[2] = batch->bytes;
    batch->column = (struct ArrowArray){
        .length = rows,
        .n_buffers = 3,
        .buffers = batch->buffers,
        .release = release_column,
    };
    batch->columns[0] = &batch->column;
    *out = (struct ArrowArray){
        .length = rows,
        .n_buffers = 1,
        .buffers = batch->no_buffers,
        .n_children = 1,
        .children = batch->columns,
        .release = release_batch,
        .private_data = batch,
    };
    return 0;
}

typedef struct {
    struct ArrowSchema column;
    struct ArrowSchema *columns[1];
} Fields;

// Names and formats are constants.
static void release_field(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static void release_fields(struct ArrowSchema *schema)
{
    free(schema->private_data);
    schema->release = NULL;
}

static int get_schema(struct ArrowArrayStream *self, struct ArrowSchema *out)
{
    Fields *fields = calloc(1, sizeof *fields);
    if (fields == NULL) {
        return say(self->private_data, ENOMEM, "out of memory");
    }
    // `U` is a string with offsets of 64 bits.
    fields->column = (struct ArrowSchema){ .format = "U", .name = "text", .release = release_field };
    fields->columns[0] = &fields->column;
    *out = (struct ArrowSchema){
        .format = "+s",
        .name = "",
        .n_children = 1,
        .children = fields->columns,
        .release = release_fields,
        .private_data = fields,
    };
    return 0;
}

static const char *get_last_error(struct ArrowArrayStream *self)
{
    return ((Stream *)self->private_data)->message;
}

static void release_stream(struct ArrowArrayStream *self)
{
    Stream *stream = self->private_data;
    fclose(stream->file);
    free(stream);
    self->release = NULL;
}

static int32_t open_lines(PsannHandle *handle, uint64_t partition, PsannStr resume, struct ArrowArrayStream *stream,
                          PsannError *error)
{
    if (partition != 0) {
        return fail(error, PSANN_UNKNOWN, "there is one, number 0", "has no piece %" PRIu64, partition);
    }
    intmax_t place = 0;
    for (size_t index = 0; index < resume.length; index++) {
        if (resume.data[index] < '0' || resume.data[index] > '9' || index > 17) {
            return fail(error, PSANN_FAILED, "", "`%.*s` is no place to go on from", (int)resume.length,
                        (const char *)resume.data);
        }
        place = place * 10 + (resume.data[index] - '0');
    }
    FILE *file = fopen(handle->path, "rb");
    if (file == NULL || fseeko(file, (off_t)place, SEEK_SET) != 0) {
        int32_t code =
            fail(error, PSANN_FAILED, "check `path`", "cannot read `%s`: %s", handle->path, strerror(errno));
        if (file != NULL) {
            fclose(file);
        }
        return code;
    }
    Stream *made = calloc(1, sizeof *made);
    if (made == NULL) {
        fclose(file);
        return fail(error, PSANN_FAILED, "", "out of memory");
    }
    made->file = file;
    made->place = place;
    *stream = (struct ArrowArrayStream){
        .get_schema = get_schema,
        .get_next = get_next,
        .get_last_error = get_last_error,
        .release = release_stream,
        .private_data = made,
    };
    return PSANN_OK;
}

// Where the stream stands: `open_lines` goes on right behind the last line.
static int32_t position(PsannHandle *handle, const struct ArrowArrayStream *stream, PsannText *resume, PsannError *error)
{
    (void)handle;
    return give(resume, error, "%" PRIdMAX, ((const Stream *)stream->private_data)->place);
}

// ---------------------------------------------------------------------------------------------------------- tables

static const PsannSource SOURCES = {
    .struct_size = sizeof(PsannSource),
    .flags = PSANN_THREAD_SAFE,
    .create = create,
    .destroy = destroy,
    .identity = identity,
    .partitions = partitions,
    .open = open_lines,
    .position = position,
};

static int32_t init(const PsannHost *given, PsannError *error)
{
    (void)error;
    host = given;
    return PSANN_OK;
}

static const void *get_interface(PsannStr id)
{
    return equals(id, "psann.source/1") ? &SOURCES : NULL;
}

static const PsannPlugin PLUGIN = {
    .struct_size = sizeof(PsannPlugin),
    .abi_major = PSANN_ABI_MAJOR,
    .abi_minor = PSANN_ABI_MINOR,
    .manifest_json = TEXT(MANIFEST),
    .init = init,
    .get_interface = get_interface,
};

const PsannPlugin *psann_plugin_v1(void)
{
    return &PLUGIN;
}
