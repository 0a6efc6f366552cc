// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A filter for psann in C11, without any library: keeps documents whose share of ASCII letters is high enough.
//
// From top to bottom: who the plugin is, errors, options, the filter's handle, the rule, verdicts in Arrow's layout,
// tables. docs/abi.md says what must hold at each step.

#include <psann.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A text that lives as long as the process.
#define TEXT(array) { (const uint8_t *)(array), sizeof(array) - 1 }

// Read before anything else is called. The options are a JSON schema: psann checks recipes by it and shows it as help.
static const char MANIFEST[] =
    "{\"id\": \"org.example.letters\", \"version\": \"1.0.0\", \"licence\": \"MIT OR Apache-2.0\","
    " \"description\": \"Looks at letters\","
    " \"components\": [{\"interface\": \"psann.filter/1\", \"name\": \"letters\", \"version\": 1, \"primary\": \"min\","
    "  \"options\": {\"type\": \"object\", \"additionalProperties\": false,"
    "   \"description\": \"Keeps documents whose share of ASCII letters is high enough.\","
    "   \"properties\": {\"min\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1, \"default\": 0.6,"
    "    \"description\": \"The least share of letters among all characters.\"}}}}]}";

// What `apply` reads and says: one reason and one score.
static const char BINDING[] =
    "{\"columns\": [\"text\"], \"reasons\": [\"too few letters\"], \"scores\": [\"letters\"], \"rewrites\": false}";

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

// Says what went wrong and returns `code`. `hint` lives as long as the process.
static int32_t fail(PsannError *error, int32_t code, const char *hint, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    char *message = length < 0 ? NULL : malloc((size_t)length + 1);
    if (message != NULL) {
        va_start(values, format);
        vsnprintf(message, (size_t)length + 1, format, values);
        va_end(values);
    }
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

// The unread part of a JSON text.
typedef struct {
    const char *at;
    const char *end;
} Json;

static void skip_space(Json *json)
{
    while (json->at < json->end && memchr(" \t\n\r", *json->at, 4) != NULL) {
        json->at++;
    }
}

// Takes a character, and the space before it, if it is the next one.
static bool take(Json *json, char expected)
{
    skip_space(json);
    if (json->at == json->end || *json->at != expected) {
        return false;
    }
    json->at++;
    return true;
}

// Takes a string; escapes stay as they are, since no option has a name with one.
static bool take_string(Json *json, const char **start, int *length)
{
    if (!take(json, '"')) {
        return false;
    }
    *start = json->at;
    bool is_escaped = false;
    while (json->at < json->end) {
        char next = *json->at++;
        if (next == '"' && !is_escaped) {
            *length = (int)(json->at - 1 - *start);
            return true;
        }
        is_escaped = next == '\\' && !is_escaped;
    }
    return false;
}

static size_t take_digits(Json *json)
{
    const char *start = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9') {
        json->at++;
    }
    return (size_t)(json->at - start);
}

static bool take_one_of(Json *json, const char *either, size_t count)
{
    bool is_there = json->at < json->end && memchr(either, *json->at, count) != NULL;
    json->at += is_there;
    return is_there;
}

// Takes a number by the grammar of JSON: `strtod` alone would also read `inf`, `0x1` and `1.`.
static bool take_number(Json *json, double *value)
{
    skip_space(json);
    const char *start = json->at;
    take_one_of(json, "-", 1);
    bool begins_with_0 = json->at < json->end && *json->at == '0';
    size_t digits = take_digits(json);
    if (digits == 0 || (begins_with_0 && digits > 1)) {
        return false;
    }
    if (take_one_of(json, ".", 1) && take_digits(json) == 0) {
        return false;
    }
    if (take_one_of(json, "eE", 2)) {
        take_one_of(json, "+-", 2);
        if (take_digits(json) == 0) {
            return false;
        }
    }
    // `strtod` wants a zero at the end, which the host's text does not have.
    char copy[64];
    size_t length = (size_t)(json->at - start);
    if (length >= sizeof copy) {
        return false;
    }
    memcpy(copy, start, length);
    copy[length] = '\0';
    *value = strtod(copy, NULL);
    return true;
}

// Reads `{"min": 0.6}`. Options that were not given are absent.
static int32_t read_options(PsannStr text, double *min, PsannError *error)
{
    static const char SHAPE[] = "options are a JSON object such as `{\"min\": 0.6}`";
    Json json = { (const char *)text.data, (const char *)text.data + text.length };
    if (!take(&json, '{')) {
        return fail(error, PSANN_USAGE, SHAPE, "the options are no JSON object");
    }
    bool is_closed = take(&json, '}');
    while (!is_closed) {
        const char *name;
        int length;
        if (!take_string(&json, &name, &length) || !take(&json, ':')) {
            return fail(error, PSANN_USAGE, SHAPE, "the options are no JSON object");
        }
        if (length != 3 || memcmp(name, "min", 3) != 0) {
            return fail(error, PSANN_USAGE, "there is one option, `min`", "unknown option `%.*s`", length, name);
        }
        if (!take_number(&json, min) || !(*min >= 0 && *min <= 1)) {
            return fail(error, PSANN_USAGE, "`0.6` asks for three letters among five characters",
                        "option `min` must be a number from 0 to 1");
        }
        is_closed = take(&json, '}');
        if (!is_closed && !take(&json, ',')) {
            return fail(error, PSANN_USAGE, SHAPE, "the options are no JSON object");
        }
    }
    skip_space(&json);
    if (json.at != json.end) {
        return fail(error, PSANN_USAGE, SHAPE, "something follows the options");
    }
    return PSANN_OK;
}

// ---------------------------------------------------------------------------------------------------------- handle

// Never changed once it is made, so threads may share it: the table says PSANN_THREAD_SAFE.
struct PsannHandle {
    double min;
};

static int32_t create(PsannStr name, PsannStr options, PsannHandle **handle, PsannError *error)
{
    if (!equals(name, "letters")) {
        return fail(error, PSANN_UNKNOWN, "there is one filter, `letters`", "has no filter `%.*s`", (int)name.length,
                    (const char *)name.data);
    }
    double min = 0.6;
    int32_t code = read_options(options, &min, error);
    if (code != PSANN_OK) {
        return code;
    }
    PsannHandle *made = malloc(sizeof *made);
    if (made == NULL) {
        return fail(error, PSANN_FAILED, "", "out of memory");
    }
    made->min = min;
    *handle = made;
    return PSANN_OK;
}

static void destroy(PsannHandle *handle)
{
    free(handle);
}

// It reads no files: the text stays empty, as the host gave it.
static int32_t identity(PsannHandle *handle, PsannText *text, PsannError *error)
{
    (void)handle, (void)text, (void)error;
    return PSANN_OK;
}

static int32_t bind(PsannHandle *handle, PsannText *json, PsannError *error)
{
    (void)handle, (void)error;
    json->data = (const uint8_t *)BINDING;
    json->length = sizeof BINDING - 1;
    // `release` stays null: there is nothing to free.
    return PSANN_OK;
}

// ------------------------------------------------------------------------------------------------------------ rule

// The share of ASCII letters among the characters of a text.
static double share_of_letters(const uint8_t *text, int64_t length)
{
    int64_t letters = 0, characters = 0;
    for (int64_t index = 0; index < length; index++) {
        uint8_t byte = text[index];
        // Bytes that continue a character of UTF-8 begin with the bits 10.
        characters += (byte & 0xC0) != 0x80;
        letters += (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    }
    return characters == 0 ? 0 : (double)letters / (double)characters;
}

// -------------------------------------------------------------------------------------------------------- verdicts

enum { KEEP, REASON, SCORE, COLUMNS };

// The buffers of a column and, behind them, its values. Each column is an allocation of its own: whoever takes the rows
// may keep one column and release the others.
typedef struct {
    const void *buffers[2];
    double values[];
} Column;

static void release_column(struct ArrowArray *array)
{
    free(array->private_data);
    array->release = NULL;
}

// Makes a column without nulls, its values zero; null if there is no memory.
static void *make_column(struct ArrowArray *array, int64_t length, size_t bytes)
{
    Column *column = calloc(1, sizeof *column + bytes);
    if (column == NULL) {
        return NULL;
    }
    column->buffers[1] = column->values;
    *array = (struct ArrowArray){
        .length = length,
        .n_buffers = 2,
        .buffers = column->buffers,
        .release = release_column,
        .private_data = column,
    };
    return column->values;
}

// Rows are a struct array: its children are the columns.
typedef struct {
    const void *buffers[1];
    struct ArrowArray columns[COLUMNS];
    struct ArrowArray *pointers[COLUMNS];
} Rows;

static void release_rows(struct ArrowArray *array)
{
    Rows *rows = array->private_data;
    for (int index = 0; index < COLUMNS; index++) {
        // One that was moved elsewhere is released there.
        if (rows->columns[index].release != NULL) {
            rows->columns[index].release(&rows->columns[index]);
        }
    }
    free(rows);
    array->release = NULL;
}

static Rows *make_rows(struct ArrowArray *array, int64_t length)
{
    Rows *rows = calloc(1, sizeof *rows);
    if (rows == NULL) {
        return NULL;
    }
    for (int index = 0; index < COLUMNS; index++) {
        rows->pointers[index] = &rows->columns[index];
    }
    *array = (struct ArrowArray){
        .length = length,
        .n_buffers = 1,
        .buffers = rows->buffers,
        .n_children = COLUMNS,
        .children = rows->pointers,
        .release = release_rows,
        .private_data = rows,
    };
    return rows;
}

typedef struct {
    struct ArrowSchema columns[COLUMNS];
    struct ArrowSchema *pointers[COLUMNS];
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

static bool make_schema(struct ArrowSchema *schema)
{
    static const char *const NAMES[COLUMNS] = { "keep", "reason", "score:letters" };
    static const char *const FORMATS[COLUMNS] = { "b", "S", "g" };
    Fields *fields = calloc(1, sizeof *fields);
    if (fields == NULL) {
        return false;
    }
    for (int index = 0; index < COLUMNS; index++) {
        fields->columns[index] =
            (struct ArrowSchema){ .format = FORMATS[index], .name = NAMES[index], .release = release_field };
        fields->pointers[index] = &fields->columns[index];
    }
    *schema = (struct ArrowSchema){
        .format = "+s",
        .name = "",
        .n_children = COLUMNS,
        .children = fields->pointers,
        .release = release_fields,
        .private_data = fields,
    };
    return true;
}

static int32_t apply(PsannHandle *handle, const struct ArrowArray *batch, struct ArrowArray *verdicts,
                     struct ArrowSchema *schema, PsannError *error)
{
    if (host->is_cancelled(host->context)) {
        return fail(error, PSANN_CANCELLED, "", "stopped");
    }
    // The only column that `bind` named: strings with offsets of 64 bits. It belongs to the host.
    const struct ArrowArray *texts = batch->children[0];
    const uint8_t *valid = texts->null_count == 0 ? NULL : texts->buffers[0];
    const int64_t *offsets = texts->buffers[1];
    const uint8_t *bytes = texts->buffers[2];
    int64_t rows = batch->length, first = batch->offset + texts->offset;

    struct ArrowArray made;
    Rows *columns = make_rows(&made, rows);
    if (columns == NULL) {
        return fail(error, PSANN_FAILED, "", "out of memory");
    }
    uint8_t *keep = make_column(&columns->columns[KEEP], rows, ((size_t)rows + 7) / 8);
    // All zero: there is one reason.
    uint16_t *reasons = make_column(&columns->columns[REASON], rows, (size_t)rows * sizeof *reasons);
    double *scores = make_column(&columns->columns[SCORE], rows, (size_t)rows * sizeof *scores);
    if (keep == NULL || reasons == NULL || scores == NULL || !make_schema(schema)) {
        made.release(&made);
        return fail(error, PSANN_FAILED, "", "out of memory");
    }
    for (int64_t row = 0; row < rows; row++) {
        int64_t place = first + row;
        bool is_there = valid == NULL || (valid[place / 8] >> (place % 8) & 1) != 0;
        int64_t start = offsets[place], length = is_there ? offsets[place + 1] - start : 0;
        scores[row] = length == 0 ? 0 : share_of_letters(bytes + start, length);
        if (scores[row] >= handle->min) {
            keep[row / 8] |= (uint8_t)(1u << (row % 8));
        }
    }
    *verdicts = made;
    return PSANN_OK;
}

// ---------------------------------------------------------------------------------------------------------- tables

static const PsannFilter FILTERS = {
    .struct_size = sizeof(PsannFilter),
    .flags = PSANN_THREAD_SAFE,
    .create = create,
    .destroy = destroy,
    .identity = identity,
    .bind = bind,
    .apply = apply,
};

static int32_t init(const PsannHost *given, PsannError *error)
{
    (void)error;
    host = given;
    return PSANN_OK;
}

static const void *get_interface(PsannStr id)
{
    return equals(id, "psann.filter/1") ? &FILTERS : NULL;
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
