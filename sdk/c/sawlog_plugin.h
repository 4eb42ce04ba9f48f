/* Write a Sawlog plugin in C or C++ without generated code: world `transformer` of contract 0.1.0, its memory layout by hand.
 *
 * A plugin defines sawlog_configure and sawlog_process below. It needs no C library: compile for bare WASM and let
 * `sawlog plugin build` make the component. Memory that the host or sawlog_alloc hands out lives until the call returns;
 * what must last belongs in static variables. Include this file in exactly one source file.
 */
#ifndef SAWLOG_PLUGIN_H
#define SAWLOG_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wc99-extensions"
#pragma clang diagnostic ignored "-Wc11-extensions"
#pragma clang diagnostic ignored "-Wmissing-braces"
#pragma clang diagnostic ignored "-Wmissing-field-initializers"
#endif

typedef struct { const char *data; uint32_t len; } sawlog_text;
typedef struct { const uint64_t *words; uint32_t len; } sawlog_mask;

/* n + 1 offsets into data; an empty `present` = every row has the field; a bit in `json` = the value is a JSON token. */
typedef struct {
  const uint32_t *offsets; uint32_t offsets_len;
  const char *data; uint32_t data_len;
  sawlog_mask present, json;
} sawlog_column;

typedef struct {
  uint32_t count;
  sawlog_text input;
  int64_t time, watermark; /* unix nanoseconds */
  const int64_t *timestamps; uint32_t timestamps_len; /* unix nanoseconds; empty unless registered */
  const sawlog_column *columns; uint32_t columns_len;
} sawlog_batch;

/* What the plugin wants. Texts and lists must outlive the call: literals and static variables do. */
typedef struct {
  sawlog_text name, version;
  const sawlog_text *columns; uint32_t columns_len;
  uint8_t timestamps;
  const sawlog_text *routes; uint32_t routes_len;
  const sawlog_text *drop_reasons; uint32_t drop_reasons_len;
  uint32_t state_version;
  int64_t lateness; /* nanoseconds */
} sawlog_registration;

/* `reason` of a dropped row: 0 = "filtered", i = drop_reasons[i - 1]. */
typedef struct { uint32_t row; uint8_t reason; } sawlog_dropped;

/* New values for some rows of one field, strictly ascending. A clear `present` bit removes the field from its row. */
typedef struct { sawlog_text field; const uint32_t *rows; uint32_t rows_len; sawlog_column values; } sawlog_update;

/* A change of fields, in every row but for updates and times. See sawlog_set_all and its neighbours. */
typedef struct {
  uint8_t kind;
  union {
    struct { sawlog_text a, b; } texts;
    sawlog_update update;
    struct { const uint32_t *rows; uint32_t rows_len; const int64_t *times; uint32_t times_len; } times;
  };
} sawlog_edit;

/* A row for the dead letters, with the reason. */
typedef struct { uint32_t row; sawlog_text reason; } sawlog_dead;

/* What changes; all empty = every row is kept as it is. Edits are applied in their order. Added rows are not in this header. */
typedef struct {
  sawlog_mask keep;
  const sawlog_edit *edits; uint32_t edits_len;
  const uint8_t *routes; uint32_t routes_len;
  const sawlog_dropped *dropped; uint32_t dropped_len;
  sawlog_mask absorbed;
  const sawlog_dead *dead; uint32_t dead_len;
} sawlog_edits;

/* The same text in every row; it must not depend on the batch. */
static inline sawlog_edit sawlog_set_all(sawlog_text field, sawlog_text text) {
  return (sawlog_edit){.kind = 0, .texts = {field, text}};
}
/* Renames a field, over what is there. */
static inline sawlog_edit sawlog_rename(sawlog_text from, sawlog_text to) {
  return (sawlog_edit){.kind = 1, .texts = {from, to}};
}
static inline sawlog_edit sawlog_remove(sawlog_text field) { return (sawlog_edit){.kind = 2, .texts = {field, {NULL, 0}}}; }
static inline sawlog_edit sawlog_change(sawlog_update update) { return (sawlog_edit){.kind = 3, .update = update}; }

/* Both return NULL if all is well, else a reason, which refuses the configuration or the rows. */
const char *sawlog_configure(sawlog_text config, sawlog_registration *registration);
const char *sawlog_process(const sawlog_batch *batch, sawlog_edits *edits);

/* ---- what follows is the canonical ABI; plugins need not read on ---- */

#define SAWLOG_EXPORT(name) __attribute__((export_name(name)))

extern unsigned char __heap_base;
static uint32_t sawlog_top;

static inline uint32_t sawlog_aligned(uint32_t at, uint32_t align) { return (at + align - 1) & ~(align - 1); }

/* Memory of this call: a bump allocator that the end of the call rewinds. Traps when there is no more. */
static void *sawlog_alloc(uint32_t size, uint32_t align) {
  if (sawlog_top == 0) sawlog_top = (uint32_t)(uintptr_t)&__heap_base;
  uint64_t start = sawlog_aligned(sawlog_top, align);
  uint64_t end = start + size;
  uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) >> 16) == (size_t)-1) __builtin_trap();
  sawlog_top = (uint32_t)end;
  return (void *)(uintptr_t)start;
}

static void sawlog_rewind(void) { sawlog_top = 0; }

/* Bytes of column `column` in row `row`, whether text or JSON token; data = NULL if the row has no such field. */
static inline sawlog_text sawlog_value(const sawlog_batch *batch, uint32_t column, uint32_t row) {
  const sawlog_column *c = &batch->columns[column];
  if (c->present.len && !(c->present.words[row / 64] >> (row % 64) & 1)) return (sawlog_text){NULL, 0};
  return (sawlog_text){c->data + c->offsets[row], c->offsets[row + 1] - c->offsets[row]};
}

/* Whether `text` is `word`. */
static inline int sawlog_is(sawlog_text text, const char *word) {
  uint32_t i = 0;
  while (i < text.len && word[i] && word[i] == text.data[i]) i++;
  return i == text.len && !word[i];
}

/* Whether that value is a JSON token: a number, boolean, null, object or array. */
static inline int sawlog_is_json(const sawlog_batch *batch, uint32_t column, uint32_t row) {
  const sawlog_column *c = &batch->columns[column];
  return c->json.len && (c->json.words[row / 64] >> (row % 64) & 1);
}

/* A mask of one bit per row, all clear. */
static inline uint64_t *sawlog_new_mask(uint32_t count, sawlog_mask *mask) {
  uint32_t len = (count + 63) / 64;
  uint64_t *words = (uint64_t *)sawlog_alloc(8 * len, 8);
  for (uint32_t i = 0; i < len; i++) words[i] = 0;
  *mask = (sawlog_mask){words, len};
  return words;
}

SAWLOG_EXPORT("cabi_realloc")
void *sawlog_cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  char *moved = (char *)sawlog_alloc((uint32_t)size, (uint32_t)align);
  for (size_t i = 0; i < old_size && i < size; i++) moved[i] = ((const char *)old)[i];
  return moved;
}

static sawlog_text sawlog_literal(const char *text) {
  uint32_t len = 0;
  while (text[len]) len++;
  return (sawlog_text){text, len};
}

/* result<registration, string> */
static struct {
  uint8_t is_error;
  union { sawlog_registration registration; sawlog_text error; } __attribute__((aligned(8)));
} sawlog_configured;

SAWLOG_EXPORT("sawlog:plugin/lifecycle@0.1.0#configure")
void *sawlog_export_configure(const char *config, uint32_t config_len, const void *files, uint32_t files_len) {
  (void)files, (void)files_len;
  sawlog_configured.registration = (sawlog_registration){0};
  const char *error = sawlog_configure((sawlog_text){config, config_len}, &sawlog_configured.registration);
  sawlog_configured.is_error = error != NULL;
  if (error) sawlog_configured.error = sawlog_literal(error);
  return &sawlog_configured;
}

SAWLOG_EXPORT("cabi_post_sawlog:plugin/lifecycle@0.1.0#configure")
void sawlog_post_configure(void *result) { (void)result; sawlog_rewind(); }

typedef struct { const void *data; uint32_t len; } sawlog_list;

/* result<edits, failure>; failure has one case, a text. */
static struct {
  uint8_t is_error;
  union {
    struct {
      sawlog_mask keep;
      sawlog_list edits;
      sawlog_list routes;
      sawlog_list added;
      sawlog_list dropped;
      sawlog_mask absorbed;
      sawlog_list dead;
      uint8_t has_wake_at;
      int64_t wake_at;
    } edits;
    struct { uint8_t kind; sawlog_text text; } failure;
  } __attribute__((aligned(8)));
} sawlog_processed;

_Static_assert(sizeof(void *) != 4 || sizeof(sawlog_configured) == 64, "result<registration, string>");
_Static_assert(sizeof(void *) != 4 || sizeof(sawlog_edit) == 52, "edit");
_Static_assert(sizeof(void *) != 4 || sizeof(sawlog_dead) == 12, "dead");
_Static_assert(sizeof(void *) != 4 || sizeof(sawlog_processed) == 80, "result<edits, failure>");

SAWLOG_EXPORT("sawlog:plugin/transform@0.1.0#process")
void *sawlog_export_process(uint32_t count, const char *input, uint32_t input_len, int64_t time, int64_t watermark,
                            const int64_t *timestamps, uint32_t timestamps_len, const sawlog_column *columns,
                            uint32_t columns_len) {
  sawlog_batch batch = {count, {input, input_len}, time, watermark, timestamps, timestamps_len, columns, columns_len};
  sawlog_edits edits = {0};
  const char *error = sawlog_process(&batch, &edits);
  for (size_t i = 0; i < sizeof sawlog_processed; i++) ((volatile char *)&sawlog_processed)[i] = 0;
  sawlog_processed.is_error = error != NULL;
  if (error) {
    sawlog_processed.failure.text = sawlog_literal(error);
    return &sawlog_processed;
  }
  sawlog_processed.edits.keep = edits.keep;
  sawlog_processed.edits.edits = (sawlog_list){edits.edits, edits.edits_len};
  sawlog_processed.edits.dead = (sawlog_list){edits.dead, edits.dead_len};
  sawlog_processed.edits.routes = (sawlog_list){edits.routes, edits.routes_len};
  sawlog_processed.edits.dropped = (sawlog_list){edits.dropped, edits.dropped_len};
  sawlog_processed.edits.absorbed = edits.absorbed;
  return &sawlog_processed;
}

SAWLOG_EXPORT("cabi_post_sawlog:plugin/transform@0.1.0#process")
void sawlog_post_process(void *result) { (void)result; sawlog_rewind(); }

#ifdef __cplusplus
#pragma clang diagnostic pop
}
#endif

#endif
