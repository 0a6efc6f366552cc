// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A plugin with a source `shelf` and a filter `rule` that does everything right, but for one thing: `-DCASE=NAME` says
// which. Compiled once for each case by tests/hostile.rs. It counts what it gives away and what comes back.
//
// Besides, `-DMANIFEST="…"` replaces the manifest, and `-DSOURCE_LACKS=name` and `-DFILTER_LACKS=name` leave a function
// out of a table.

#define _POSIX_C_SOURCE 200809L

#include <psann.h>

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GOOD,
    // The plugin's table.
    NULL_TABLE, MISALIGNED_TABLE, SMALL_TABLE, OLDER_MAJOR, NEWER_MAJOR, NEWER_MINOR, NO_INIT, NO_GET_INTERFACE,
    INIT_FAILS, INIT_FAILS_SILENTLY, MANIFEST_NULL, MANIFEST_ENDLESS,
    // The interfaces' tables.
    NO_INTERFACES, MISALIGNED_INTERFACES, SMALL_INTERFACES,
    // What is handed over.
    CREATES_NOTHING, CREATE_FAILS, CREATE_FAILS_SILENTLY, CREATE_FAILS_STRANGELY, CREATE_FAILS_WITHOUT_UTF8,
    IDENTITY_NOT_UTF8, IDENTITY_NULL, KEEPS_FIELDS, TELLS_ERROR_AND_SUCCEEDS,
    // Sources.
    PARTITIONS_BROKEN, PARTITIONS_NO_LIST, OPENS_NOTHING, OPEN_FAILS_AND_FILLS, NO_GET_SCHEMA, SCHEMA_FAILS_AND_FILLS,
    SCHEMA_RELEASED, SCHEMA_NO_STRUCT, SCHEMA_WITHOUT_TEXT, SCHEMA_OF_INTEGERS, SCHEMA_NULL_COLUMN, MORE_COLUMNS,
    NO_GET_NEXT, NEXT_FAILS, NEXT_FAILS_SILENTLY, NEXT_FAILS_WITHOUT_FUNCTION, NEXT_FAILS_AND_FILLS, NEXT_STOPS,
    FEW_VALUES, OTHER_COLUMNS, NULL_COLUMN, NULL_TEXT, NULL_ROWS, NOT_UTF8, OFFSETS_BACKWARDS, NO_OFFSETS, NO_BYTES,
    NEGATIVE_ROWS, ENDLESS_ROWS, FAR_OFFSET, NO_ROWS, FEW_BUFFERS, POSITION_EMPTY, POSITION_FAILS, BIG,
    // Filters.
    BIND_BROKEN, BIND_NO_REASON, BIND_OTHER_COLUMN, APPLY_FAILS_AND_FILLS, VERDICTS_RELEASED,
    VERDICTS_SCHEMA_RELEASED, OTHER_ROWS, NO_KEEP, KEEP_OF_NUMBERS, NULL_KEEP, KEEP_WITHOUT_VALUES, NO_REASON,
    REASON_NULL, REASON_BEYOND, REASON_OF_STRINGS, NO_SCORE, SCORE_NULL, DICTIONARY, REWRITES, REWRITES_UNASKED,
    // Both: rows that begin behind the start of their buffers.
    SLICED,
    // Threads.
    ONE_AT_A_TIME, AT_ONCE,
};

#ifndef CASE
#define CASE GOOD
#endif

static bool is(int name)
{
    return CASE == name;
}

static PsannStr str(const char *text)
{
    return (PsannStr){ (const uint8_t *)text, strlen(text) };
}

static bool equals(PsannStr text, const char *expected)
{
    return text.length == strlen(expected) && memcmp(text.data, expected, text.length) == 0;
}

// ---------------------------------------------------------------------------------------------------------- counts

// What was given away and comes back by `release` or `destroy`. Never freed: a second time is to be seen, not felt.
typedef struct {
    atomic_int returns;
} Loan;

static atomic_int_least64_t given, returned, returned_twice;

static Loan *lend(void)
{
    atomic_fetch_add(&given, 1);
    return calloc(1, sizeof(Loan));
}

// Whether it comes back for the first time.
static bool take_back(Loan *loan)
{
    bool is_first = atomic_fetch_add(&loan->returns, 1) == 0;
    atomic_fetch_add(is_first ? &returned : &returned_twice, 1);
    return is_first;
}

PSANN_EXPORT int64_t hostile_given(void);
PSANN_EXPORT int64_t hostile_returned(void);
PSANN_EXPORT int64_t hostile_returned_twice(void);
PSANN_EXPORT int64_t hostile_handles(void);
PSANN_EXPORT int64_t hostile_most_at_once(void);

int64_t hostile_given(void) { return atomic_load(&given); }
int64_t hostile_returned(void) { return atomic_load(&returned); }
int64_t hostile_returned_twice(void) { return atomic_load(&returned_twice); }

// ----------------------------------------------------------------------------------------------- errors and texts

static void release_error(PsannError *error)
{
    if (take_back(error->private_data) && !is(KEEPS_FIELDS)) {
        *error = (PsannError){ 0 };
    }
}

static int32_t fail(PsannError *error, int32_t code, const char *message, const char *hint)
{
    error->code = code;
    error->message = str(message);
    error->hint = str(hint);
    error->private_data = lend();
    error->release = release_error;
    return code;
}

static void release_text(PsannText *text)
{
    if (take_back(text->private_data) && !is(KEEPS_FIELDS)) {
        *text = (PsannText){ 0 };
    }
}

// `text` lives as long as the process.
static int32_t hand_over(PsannText *out, const char *text)
{
    *out = (PsannText){ (const uint8_t *)text, strlen(text), lend(), release_text };
    return PSANN_OK;
}

// --------------------------------------------------------------------------------------------------------- handles

struct PsannHandle {
    Loan *loan;
    atomic_int inside;
};

static atomic_int_least64_t handles, most_at_once;

int64_t hostile_handles(void) { return atomic_load(&handles); }
// Most calls that were in one handle at the same time.
int64_t hostile_most_at_once(void) { return atomic_load(&most_at_once); }

static void enter(PsannHandle *handle)
{
    int64_t now = atomic_fetch_add(&handle->inside, 1) + 1, most = atomic_load(&most_at_once);
    while (now > most && !atomic_compare_exchange_weak(&most_at_once, &most, now)) {
    }
}

static void leave(PsannHandle *handle)
{
    atomic_fetch_sub(&handle->inside, 1);
}

static int32_t create(const char *expected, PsannStr name, PsannHandle **handle, PsannError *error)
{
    if (!equals(name, expected)) {
        return fail(error, PSANN_UNKNOWN, "has nothing of that name", "");
    }
    switch (CASE) {
    case CREATES_NOTHING: return PSANN_OK;
    case CREATE_FAILS: return fail(error, PSANN_USAGE, "the shelf is locked", "unlock it");
    case CREATE_FAILS_SILENTLY: return PSANN_FAILED;
    case CREATE_FAILS_STRANGELY: return -77;
    case CREATE_FAILS_WITHOUT_UTF8: return fail(error, PSANN_FAILED, "caf\xe9", "\xff");
    case TELLS_ERROR_AND_SUCCEEDS: fail(error, PSANN_OK, "nothing is wrong", ""); break;
    default: break;
    }
    PsannHandle *made = calloc(1, sizeof *made);
    made->loan = lend();
    atomic_fetch_add(&handles, 1);
    *handle = made;
    return PSANN_OK;
}

static void destroy(PsannHandle *handle)
{
    // Kept: a second time is to be seen.
    take_back(handle->loan);
}

static int32_t identity(PsannHandle *handle, PsannText *text, PsannError *error)
{
    (void)handle, (void)error;
    if (is(IDENTITY_NULL)) {
        *text = (PsannText){ NULL, 3, NULL, NULL };
        return PSANN_OK;
    }
    return hand_over(text, is(IDENTITY_NOT_UTF8) ? "\xc3(" : "as it was");
}

// ---------------------------------------------------------------------------------------------------------- arrays

enum { MOST = 4 };

// A column: its values are malloc'ed and given away.
typedef struct {
    const char *name, *format;
    int64_t length, nulls;
    void *buffers[3];
} Column;

typedef struct {
    Loan *loan;
    const void *buffers[MOST + 1][3];
    struct ArrowArray columns[MOST];
    struct ArrowArray *pointers[MOST];
    void *values[MOST][3];
} Rows;

static void release_column(struct ArrowArray *array)
{
    array->release = NULL;
}

static void release_rows(struct ArrowArray *array)
{
    Rows *rows = array->private_data;
    if (!take_back(rows->loan)) {
        return;
    }
    for (int index = 0; index < MOST; index++) {
        for (int buffer = 0; buffer < 3; buffer++) {
            free(rows->values[index][buffer]);
        }
    }
    // The struct itself is kept: a second release is to be seen.
    if (!is(KEEPS_FIELDS)) {
        array->release = NULL;
    }
}

static void make_rows(struct ArrowArray *array, int64_t length, const Column *columns, int count)
{
    Rows *rows = calloc(1, sizeof *rows);
    rows->loan = lend();
    for (int index = 0; index < count; index++) {
        const Column *column = &columns[index];
        for (int buffer = 0; buffer < 3; buffer++) {
            rows->values[index][buffer] = column->buffers[buffer];
            rows->buffers[index][buffer] = column->buffers[buffer];
        }
        rows->pointers[index] = &rows->columns[index];
        rows->columns[index] = (struct ArrowArray){
            .length = column->length,
            .null_count = column->nulls,
            .n_buffers = strchr("uU", column->format[0]) ? 3 : 2,
            .buffers = rows->buffers[index],
            .release = release_column,
        };
    }
    *array = (struct ArrowArray){
        .length = length,
        .n_buffers = 1,
        .buffers = rows->buffers[MOST],
        .n_children = count,
        .children = rows->pointers,
        .release = release_rows,
        .private_data = rows,
    };
}

// Makes rows begin at value 1 + `lead` of their columns: a struct's offset counts in its columns, too.
static void slice(struct ArrowArray *rows, int64_t lead)
{
    rows->offset = 1;
    for (int64_t index = 0; index < rows->n_children; index++) {
        rows->children[index]->offset = lead;
        rows->children[index]->length -= lead;
    }
}

typedef struct {
    Loan *loan;
    struct ArrowSchema columns[MOST];
    struct ArrowSchema *pointers[MOST];
} Fields;

static void release_field(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static void release_schema(struct ArrowSchema *schema)
{
    Fields *fields = schema->private_data;
    if (take_back(fields->loan) && !is(KEEPS_FIELDS)) {
        schema->release = NULL;
    }
}

static void make_schema(struct ArrowSchema *schema, const Column *columns, int count)
{
    Fields *fields = calloc(1, sizeof *fields);
    fields->loan = lend();
    for (int index = 0; index < count; index++) {
        fields->columns[index] = (struct ArrowSchema){
            .format = columns[index].format, .name = columns[index].name, .flags = 2, .release = release_field };
        fields->pointers[index] = &fields->columns[index];
    }
    *schema = (struct ArrowSchema){
        .format = "+s", .name = "", .n_children = count, .children = fields->pointers, .release = release_schema,
        .private_data = fields,
    };
}

// A column of large strings with the same text in each row.
static Column strings(const char *name, int64_t rows, const char *text, size_t length)
{
    int64_t *offsets = calloc((size_t)rows + 1, sizeof *offsets);
    char *bytes = malloc((size_t)rows * length + 1);
    for (int64_t row = 0; row < rows; row++) {
        memcpy(bytes + (size_t)row * length, text, length);
        offsets[row + 1] = (row + 1) * (int64_t)length;
    }
    return (Column){ name, "U", rows, 0, { NULL, offsets, bytes } };
}

// ---------------------------------------------------------------------------------------------------------- source

enum { BATCHES = 3, ROWS = 2, TEN_MB = 10 << 20 };

typedef struct {
    Loan *loan;
    int64_t next;
    const char *last_error;
} Stream;

static int32_t create_source(PsannStr name, PsannStr options, PsannHandle **handle, PsannError *error)
{
    (void)options;
    return create("shelf", name, handle, error);
}

static int32_t partitions(PsannHandle *handle, PsannText *json, PsannError *error)
{
    (void)handle, (void)error;
    switch (CASE) {
    case PARTITIONS_BROKEN: return hand_over(json, "[{\"name\": \"left\"");
    case PARTITIONS_NO_LIST: return hand_over(json, "{\"name\": \"left\"}");
    default: return hand_over(json, "[{\"name\": \"left\", \"bytes\": 7}, {\"name\": \"right\"}]");
    }
}

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    Stream *opened = stream->private_data;
    if (is(SCHEMA_RELEASED)) {
        return 0;
    }
    Column columns[] = {
        { .name = "text", .format = "U" }, { .name = "id", .format = "U" }, { .name = "page", .format = "l" },
    };
    if (is(SCHEMA_WITHOUT_TEXT)) {
        columns[0].name = "body";
    }
    if (is(SCHEMA_OF_INTEGERS)) {
        columns[0].format = "l";
    }
    make_schema(out, columns, is(MORE_COLUMNS) ? 3 : 2);
    if (is(SCHEMA_NO_STRUCT)) {
        out->format = "U";
    }
    if (is(SCHEMA_NULL_COLUMN)) {
        out->children[1] = NULL;
    }
    if (is(SCHEMA_FAILS_AND_FILLS)) {
        opened->last_error = "the catalogue is locked\nhint: unlock it";
        return EIO;
    }
    return 0;
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    Stream *opened = stream->private_data;
    switch (CASE) {
    case NEXT_FAILS: opened->last_error = "page 7 is torn\nhint: glue it"; return EIO;
    case NEXT_FAILS_SILENTLY: return EIO;
    case NEXT_FAILS_WITHOUT_FUNCTION: return ENOMEM;
    case NEXT_STOPS: opened->last_error = "stopped"; return PSANN_ECANCELED;
    default: break;
    }
    if (opened->next == BATCHES) {
        // The end: `out` stays as it is, which is released.
        return 0;
    }
    opened->next++;
    static const char TEXT[] = "a text";
    char *big = NULL;
    Column columns[] = {
        strings("text", ROWS, TEXT, sizeof TEXT - 1),
        strings("id", ROWS, "7", 1),
        { "page", "l", ROWS, 0, { NULL, calloc(ROWS, sizeof(int64_t)), NULL } },
    };
    Column *text = &columns[0];
    int64_t rows = ROWS, *offsets = text->buffers[1];
    int count = is(MORE_COLUMNS) ? 3 : 2;
    switch (CASE) {
    case BIG:
        big = malloc(TEN_MB);
        memset(big, 'a', TEN_MB);
        free(text->buffers[1]);
        free(text->buffers[2]);
        *text = strings("text", ROWS, big, TEN_MB);
        free(big);
        break;
    case SLICED:
        // The rows are the last two of five; the last one has no `id`.
        for (int index = 0; index < 2; index++) {
            free(columns[index].buffers[1]);
            free(columns[index].buffers[2]);
            columns[index] = strings(index == 0 ? "text" : "id", 5, "?", 1);
            memcpy(columns[index].buffers[2], "01234", 5);
        }
        columns[1].nulls = -1;
        columns[1].buffers[0] = calloc(1, 1);
        *(uint8_t *)columns[1].buffers[0] = 1 << 3;
        break;
    case FEW_VALUES: columns[1].length = 1; break;
    case OTHER_COLUMNS: count = 1; break;
    case NULL_TEXT:
        text->nulls = 1;
        text->buffers[0] = calloc(1, 1);
        *(uint8_t *)text->buffers[0] = 1;
        break;
    case NOT_UTF8: ((uint8_t *)text->buffers[2])[8] = 0xff; break;
    case OFFSETS_BACKWARDS: offsets[1] = 9; offsets[2] = 6; break;
    case NO_OFFSETS: free(text->buffers[1]); text->buffers[1] = NULL; break;
    case NO_BYTES: free(text->buffers[2]); text->buffers[2] = NULL; break;
    case NEGATIVE_ROWS: rows = -1; break;
    case ENDLESS_ROWS: rows = INT64_MAX; break;
    case NO_ROWS: rows = 0; break;
    default: break;
    }
    make_rows(out, rows, columns, count);
    // What was not given away.
    for (int index = count; index < 3; index++) {
        free(columns[index].buffers[1]);
        free(columns[index].buffers[2]);
    }
    switch (CASE) {
    case SLICED: slice(out, 2); break;
    case NULL_ROWS: out->null_count = 1; break;
    case NULL_COLUMN: out->children[0] = NULL; break;
    case FAR_OFFSET: out->children[0]->offset = INT64_MAX - 1; break;
    case FEW_BUFFERS: out->children[0]->n_buffers = 2; break;
    case ENDLESS_ROWS: out->offset = 1; break;
    case NEXT_FAILS_AND_FILLS: opened->last_error = "page 7 is torn\nhint: glue it"; return EIO;
    default: break;
    }
    return 0;
}

static const char *get_last_error(struct ArrowArrayStream *stream)
{
    return ((Stream *)stream->private_data)->last_error;
}

static void release_stream(struct ArrowArrayStream *stream)
{
    Stream *opened = stream->private_data;
    if (take_back(opened->loan) && !is(KEEPS_FIELDS)) {
        stream->release = NULL;
    }
}

static int32_t open(PsannHandle *handle, uint64_t partition, PsannStr resume, struct ArrowArrayStream *stream,
                    PsannError *error)
{
    if (partition > 1) {
        return fail(error, PSANN_UNKNOWN, "has no such partition", "there are two");
    }
    if (is(OPENS_NOTHING)) {
        return PSANN_OK;
    }
    enter(handle);
    Stream *opened = calloc(1, sizeof *opened);
    opened->loan = lend();
    opened->next = resume.length == 0 ? 0 : resume.data[0] - '0';
    *stream = (struct ArrowArrayStream){
        .get_schema = is(NO_GET_SCHEMA) ? NULL : get_schema,
        .get_next = is(NO_GET_NEXT) ? NULL : get_next,
        .get_last_error = is(NEXT_FAILS_WITHOUT_FUNCTION) ? NULL : get_last_error,
        .release = release_stream,
        .private_data = opened,
    };
    leave(handle);
    return is(OPEN_FAILS_AND_FILLS) ? fail(error, PSANN_FAILED, "the drawer is stuck", "pull") : PSANN_OK;
}

static int32_t position(PsannHandle *handle, const struct ArrowArrayStream *stream, PsannText *resume,
                        PsannError *error)
{
    static const char *const POSITIONS[BATCHES + 1] = { "0", "1", "2", "3" };
    (void)handle;
    switch (CASE) {
    case POSITION_EMPTY: return hand_over(resume, "");
    case POSITION_FAILS: return fail(error, PSANN_FAILED, "the bookmark is lost", "read on without stopping");
    default: return hand_over(resume, POSITIONS[((const Stream *)stream->private_data)->next]);
    }
}

// ---------------------------------------------------------------------------------------------------------- filter

static int32_t create_filter(PsannStr name, PsannStr options, PsannHandle **handle, PsannError *error)
{
    (void)options;
    return create("rule", name, handle, error);
}

static int32_t bind(PsannHandle *handle, PsannText *json, PsannError *error)
{
    (void)handle, (void)error;
    switch (CASE) {
    case BIND_BROKEN: return hand_over(json, "{\"columns\": ");
    case BIND_NO_REASON: return hand_over(json, "{\"columns\": [\"text\"], \"reasons\": []}");
    case BIND_OTHER_COLUMN: return hand_over(json, "{\"columns\": [\"title\"], \"reasons\": [\"dull\"]}");
    case REWRITES:
        return hand_over(json, "{\"columns\": [\"text\"], \"reasons\": [\"dull\", \"long\"], \"scores\": [\"wit\"],"
                               " \"rewrites\": true}");
    default:
        return hand_over(json, "{\"columns\": [\"text\"], \"reasons\": [\"dull\", \"long\"], \"scores\": [\"wit\"]}");
    }
}

// Waits until so many are in `apply` at the same time, or nobody comes for a long time.
enum { COMPANY = 4, PATIENCE_S = 60 };

static atomic_int in_company;

static bool wait_for_company(void)
{
    atomic_fetch_add(&in_company, 1);
    for (time_t start = time(NULL); atomic_load(&in_company) < COMPANY; sched_yield()) {
        if (time(NULL) - start > PATIENCE_S) {
            return false;
        }
    }
    return true;
}

// The text of a row in capitals; the column is the host's.
static Column capitals(const struct ArrowArray *texts, int64_t first, int64_t rows)
{
    const int64_t *offsets = (const int64_t *)texts->buffers[1] + first;
    const char *bytes = texts->buffers[2];
    int64_t *own = calloc((size_t)rows + 1, sizeof *own);
    char *copy = malloc((size_t)(offsets[rows] - offsets[0]) + 1);
    for (int64_t row = 0; row < rows; row++) {
        own[row + 1] = offsets[row + 1] - offsets[0];
    }
    for (int64_t index = 0; index < own[rows]; index++) {
        char byte = bytes[offsets[0] + index];
        copy[index] = byte >= 'a' && byte <= 'z' ? (char)(byte - 'a' + 'A') : byte;
    }
    return (Column){ "text", "U", rows, 0, { NULL, own, copy } };
}

// Keeps every row but the first, which is dropped for reason 1, and scores all with 0.5.
static int32_t apply(PsannHandle *handle, const struct ArrowArray *batch, struct ArrowArray *verdicts,
                     struct ArrowSchema *schema, PsannError *error)
{
    enter(handle);
    bool has_company = (is(ONE_AT_A_TIME) || is(AT_ONCE)) ? wait_for_company() : true;
    leave(handle);
    if (!has_company) {
        return fail(error, PSANN_FAILED, "nobody else called", "");
    }
    int64_t rows = is(OTHER_ROWS) ? batch->length + 1 : batch->length;
    int64_t first = batch->offset + batch->children[0]->offset;
    int64_t lead = is(SLICED) ? 2 : 0;
    // One more than needed: no rows, and there are buffers all the same.
    size_t count = (size_t)(rows + lead) + 1;
    uint8_t *keep = calloc(1, (count + 7) / 8);
    uint16_t *reasons = calloc(count, sizeof *reasons);
    double *scores = calloc(count, sizeof *scores);
    for (int64_t place = 0; place < rows + lead; place++) {
        if (place != lead) {
            keep[place / 8] |= (uint8_t)(1u << (place % 8));
        }
        scores[place] = place < lead ? -1 : 0.5;
    }
    reasons[lead] = is(REASON_BEYOND) ? 2 : 1;
    Column columns[MOST] = {
        { "keep", "b", rows + lead, 0, { NULL, keep, NULL } },
        { "reason", "S", rows + lead, 0, { NULL, reasons, NULL } },
        { "score:wit", "g", rows + lead, 0, { NULL, scores, NULL } },
    };
    int columns_count = 3;
    switch (CASE) {
    case NO_KEEP: columns[0].name = "keeps"; break;
    case KEEP_OF_NUMBERS: columns[0].format = "S"; free(keep); columns[0].buffers[1] = calloc(count, 2); break;
    case KEEP_WITHOUT_VALUES: free(keep); columns[0].buffers[1] = NULL; break;
    case NULL_KEEP: columns[0].nulls = -1; columns[0].buffers[0] = calloc(1, (count + 7) / 8); break;
    case NO_REASON: columns[1].name = "why"; break;
    case REASON_NULL: columns[1].nulls = rows; columns[1].buffers[0] = calloc(1, (count + 7) / 8); break;
    case REASON_OF_STRINGS: free(reasons); columns[1] = strings("reason", rows, "dull", 4); break;
    case NO_SCORE: columns[2].name = "wit"; break;
    case SCORE_NULL: columns[2].nulls = rows; columns[2].buffers[0] = calloc(1, (count + 7) / 8); break;
    case REWRITES:
    case REWRITES_UNASKED:
        columns[columns_count++] = capitals(batch->children[0], first, rows);
        break;
    default: break;
    }
    make_rows(verdicts, rows, columns, columns_count);
    make_schema(schema, columns, columns_count);
    switch (CASE) {
    case SLICED: slice(verdicts, 1); break;
    case DICTIONARY: verdicts->children[1]->dictionary = verdicts->children[0]; break;
    case VERDICTS_RELEASED: verdicts->release(verdicts); break;
    case VERDICTS_SCHEMA_RELEASED: schema->release(schema); break;
    case APPLY_FAILS_AND_FILLS: return fail(error, PSANN_FAILED, "lost count", "count again");
    default: break;
    }
    return PSANN_OK;
}

// ---------------------------------------------------------------------------------------------------------- tables

#ifndef MANIFEST
#define MANIFEST                                                                                            \
    "{\"id\": \"org.hostile\", \"version\": \"1.2.3\", \"components\": ["                                    \
    "{\"interface\": \"psann.source/1\", \"name\": \"shelf\"},"                                              \
    "{\"interface\": \"psann.filter/1\", \"name\": \"rule\"}]}"
#endif

// Tables of a version that does not exist yet have something behind what is known.
typedef struct {
    PsannSource known;
    void *beyond[4];
} Sources;

typedef struct {
    PsannFilter known;
    void *beyond[4];
} Filters;

typedef struct {
    PsannPlugin known;
    void *beyond[4];
} Plugin;

static Sources sources = {
    .known = { sizeof(PsannSource), PSANN_THREAD_SAFE, create_source, destroy, identity, partitions, open, position },
};
static Filters filters = {
    .known = { sizeof(PsannFilter), PSANN_THREAD_SAFE, create_filter, destroy, identity, bind, apply },
};
static Plugin plugin;

static int32_t init(const PsannHost *host, PsannError *error)
{
    (void)host;
    switch (CASE) {
    case INIT_FAILS: return fail(error, PSANN_FAILED, "the library is closed", "come back tomorrow");
    case INIT_FAILS_SILENTLY: return PSANN_FAILED;
    default: return PSANN_OK;
    }
}

static const void *get_interface(PsannStr id)
{
    const char *table = NULL;
    if (equals(id, "psann.source/1")) {
        table = (const char *)&sources;
    } else if (equals(id, "psann.filter/1")) {
        table = (const char *)&filters;
    }
    if (is(NO_INTERFACES)) {
        return NULL;
    }
    return is(MISALIGNED_INTERFACES) ? table + 4 : table;
}

const PsannPlugin *psann_plugin_v1(void)
{
    plugin.known = (PsannPlugin){
        .struct_size = sizeof(PsannPlugin),
        .abi_major = PSANN_ABI_MAJOR,
        .abi_minor = PSANN_ABI_MINOR,
        .manifest_json = str(MANIFEST),
        .init = is(NO_INIT) ? NULL : init,
        .get_interface = is(NO_GET_INTERFACE) ? NULL : get_interface,
    };
#ifdef SOURCE_LACKS
    sources.known.SOURCE_LACKS = NULL;
#endif
#ifdef FILTER_LACKS
    filters.known.FILTER_LACKS = NULL;
#endif
    switch (CASE) {
    case NULL_TABLE: return NULL;
    case MISALIGNED_TABLE: return (const PsannPlugin *)(const void *)((const char *)&plugin + 4);
    case SMALL_TABLE: plugin.known.struct_size = 24; break;
    case OLDER_MAJOR: plugin.known.abi_major = 0; break;
    case NEWER_MAJOR: plugin.known.abi_major = 2; break;
    case NEWER_MINOR:
        plugin.known.abi_minor = 7;
        plugin.known.struct_size = sizeof plugin;
        sources.known.struct_size = sizeof sources;
        filters.known.struct_size = sizeof filters;
        // Flags that nobody knows yet.
        filters.known.flags |= 1u << 30;
        break;
    case MANIFEST_NULL: plugin.known.manifest_json.data = NULL; break;
    case MANIFEST_ENDLESS: plugin.known.manifest_json.length = SIZE_MAX; break;
    case SMALL_INTERFACES: sources.known.struct_size = 8; filters.known.struct_size = 8; break;
    case ONE_AT_A_TIME: sources.known.flags = 0; filters.known.flags = 0; break;
    default: break;
    }
    return &plugin.known;
}
