/* The example that every SDK has: see sdk/example. */
#include "sawlog_plugin.h"

#define FIELDS_MAX 32

static sawlog_text columns[1 + FIELDS_MAX]; /* the level, then the fields to redact */
static uint32_t columns_len;
static sawlog_text add_name, add_text;
static int least;

static const char *const LEVELS[] = {"trace",  "debug", "info",     "information", "notice", "warn", "warning",
                                     "error", "err",   "critical", "crit",        "fatal"};
static const int PLACES[] = {0, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6, 6};

/* The place of a word among the levels, -1 if it is none. */
static int level(sawlog_text word) {
  for (uint32_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++) {
    uint32_t at = 0;
    while (at < word.len && LEVELS[i][at]) {
      char c = word.data[at];
      if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != LEVELS[i][at]) break;
      at++;
    }
    if (at == word.len && !LEVELS[i][at]) return PLACES[i];
  }
  return -1;
}

/* ---- the configuration, whose shape the schema has checked ---- */

static char texts[8192]; /* what was read outlives the call here */
static uint32_t texts_len;
static const char *json, *json_end;

static void put(uint32_t byte) { if (texts_len < sizeof texts) texts[texts_len++] = (char)byte; }

static void put_letter(uint32_t c) {
  if (c < 0x80) put(c);
  else if (c < 0x800) put(0xc0 | c >> 6), put(0x80 | (c & 63));
  else if (c < 0x10000) put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
  else put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
}

static uint32_t four_digits(void) {
  uint32_t n = 0;
  for (int i = 0; i < 4 && json < json_end; i++, json++) {
    char c = *json;
    n = n << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
  }
  return n;
}

/* The next string of the JSON text. */
static sawlog_text next_text(void) {
  while (json < json_end && *json != '"') json++;
  uint32_t start = texts_len;
  for (json++; json < json_end && *json != '"';) {
    if (*json != '\\') { put((unsigned char)*json++); continue; }
    char c = json[1];
    json += 2;
    if (c == 'u') {
      uint32_t letter = four_digits();
      if (letter >> 10 == 0x36) json += 2, letter = 0x10000 + ((letter & 0x3ff) << 10) + (four_digits() & 0x3ff);
      put_letter(letter);
    } else put(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : (unsigned char)c);
  }
  json++;
  return (sawlog_text){texts + start, texts_len - start};
}

static const char *read_config(sawlog_text config) {
  json = config.data, json_end = config.data + config.len;
  texts_len = 0, least = -1;
  columns[0] = (sawlog_text){"level", 5}, columns_len = 1;
  for (sawlog_text key; (key = next_text()).data && json < json_end;) {
    if (sawlog_is(key, "at_least")) {
      if ((least = level(next_text())) < 0) return "at_least is no level";
    } else if (sawlog_is(key, "name")) add_name = next_text();
    else if (sawlog_is(key, "text")) add_text = next_text();
    else if (sawlog_is(key, "fields")) {
      for (; json < json_end && *json != ']'; json++)
        if (*json == '"' && columns_len <= FIELDS_MAX) columns[columns_len++] = next_text(), json--;
    }
  }
  return texts_len == sizeof texts ? "the configuration is too long" : least < 0 ? "at_least is missing" : NULL;
}

const char *sawlog_configure(sawlog_text config, sawlog_registration *registration) {
  const char *error = read_config(config);
  registration->name = (sawlog_text){"tidy", 4};
  registration->version = (sawlog_text){"0.1.0", 5};
  registration->columns = columns;
  registration->columns_len = columns_len;
  return error;
}

/* ---- redaction ---- */

static int digit(char c) { return c >= '0' && c <= '9'; }
static int alphabetic(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static int letter(char c) { return digit(c) || alphabetic(c); }
static int in_local(char c) { return letter(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'; }

/* Where the address around the @ at `at` ends, 0 if there is none; `*start` is where it begins. */
static uint32_t email(sawlog_text t, uint32_t from, uint32_t at, uint32_t *start) {
  int named = 0;
  uint32_t end = 0;
  for (*start = at; *start > from && in_local(t.data[*start - 1]);) named |= letter(t.data[--*start]);
  if (!named || at + 1 == t.len || t.data[at + 1] == '.') return 0;
  for (uint32_t i = at + 1; i < t.len && (letter(t.data[i]) || t.data[i] == '.' || t.data[i] == '-'); i++) {
    uint32_t top = i + 1;
    if (t.data[i] != '.') continue;
    while (top < t.len && alphabetic(t.data[top])) top++;
    if (top - i > 2) end = top;
  }
  return end;
}

/* Where the card number that begins at `at` ends, 0 if there is none. */
static uint32_t card(sawlog_text t, uint32_t at) {
  int digits[19];
  uint32_t len = 0, end = at, sum = 0;
  for (uint32_t i = at; i < t.len; i++) {
    if (digit(t.data[i])) {
      if (len == 19) return 0;
      digits[len++] = t.data[i] - '0', end = i + 1;
    } else if ((t.data[i] != ' ' && t.data[i] != '-') || end != i) break;
  }
  if (len < 13 || (end < t.len && letter(t.data[end]))) return 0;
  for (uint32_t i = 0; i < len; i++) {
    uint32_t d = (uint32_t)digits[len - 1 - i];
    if (i % 2) d = 2 * d > 9 ? 2 * d - 9 : 2 * d;
    sum += d;
  }
  return sum % 10 ? 0 : end;
}

static char *append(char *out, const char *from, uint32_t len) {
  for (uint32_t i = 0; i < len; i++) *out++ = from[i];
  return out;
}

/* Writes the text without addresses and card numbers to `out`; how long it is, or -1 if there were none. */
static int32_t redact(sawlog_text t, char *out) {
  char *begin = out;
  uint32_t done = 0;
  for (uint32_t at = 0; at < t.len;) {
    uint32_t start = at, end = 0;
    if (t.data[at] == '@') end = email(t, done, at, &start);
    else if (digit(t.data[at]) && (at == 0 || !letter(t.data[at - 1]))) end = card(t, at);
    if (!end) { at++; continue; }
    out = append(out, t.data + done, start - done);
    out = t.data[at] == '@' ? append(out, "[email]", 7) : append(out, "[card]", 6);
    done = at = end;
  }
  if (!done) return -1;
  return (int32_t)(append(out, t.data + done, t.len - done) - begin);
}

static sawlog_update redact_column(const sawlog_batch *batch, uint32_t column) {
  /* The shortest address has six letters, its name seven. */
  char *data = sawlog_alloc(2 * batch->columns[column].data_len + 8, 1);
  uint32_t *rows = sawlog_alloc(4 * batch->count, 4), *offsets = sawlog_alloc(4 * (batch->count + 1), 4);
  uint32_t len = 0, data_len = 0;
  offsets[0] = 0;
  for (uint32_t row = 0; row < batch->count; row++) {
    sawlog_text text = sawlog_value(batch, column, row);
    if (!text.data || sawlog_is_json(batch, column, row)) continue;
    int32_t clean = redact(text, data + data_len);
    if (clean < 0) continue;
    data_len += (uint32_t)clean;
    rows[len++] = row;
    offsets[len] = data_len;
  }
  return (sawlog_update){columns[column], rows, len, {offsets, len + 1, data, data_len, {NULL, 0}, {NULL, 0}}};
}

const char *sawlog_process(const sawlog_batch *batch, sawlog_edits *edits) {
  uint64_t *keep = sawlog_new_mask(batch->count, &edits->keep);
  for (uint32_t row = 0; row < batch->count; row++) {
    sawlog_text word = sawlog_value(batch, 0, row);
    int found = word.data ? level(word) : -1;
    if (found < 0 || found >= least) keep[row / 64] |= (uint64_t)1 << (row % 64);
  }
  sawlog_edit *all = sawlog_alloc(sizeof *all * (columns_len + 1), _Alignof(sawlog_edit));
  edits->edits = all;
  for (uint32_t column = 1; column < columns_len; column++) {
    sawlog_update update = redact_column(batch, column);
    if (update.rows_len) all[edits->edits_len++] = sawlog_change(update);
  }
  all[edits->edits_len++] = sawlog_set_all(add_name, add_text);
  return NULL;
}
