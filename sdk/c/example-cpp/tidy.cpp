// The example that every SDK has, in C++: see sdk/example. Freestanding: no library of C++ is linked.
#include "sawlog_plugin.h"

namespace {

using Text = sawlog_text;

constexpr uint32_t FIELDS_MAX = 32;

Text columns[1 + FIELDS_MAX]; // the level, then the fields to redact
uint32_t columns_len;
Text add_name, add_text;
int least;

struct Level { const char *word; int place; };
constexpr Level LEVELS[] = {{"trace", 0}, {"debug", 1}, {"info", 2},  {"information", 2}, {"notice", 3}, {"warn", 4},
                            {"warning", 4}, {"error", 5}, {"err", 5}, {"critical", 6},    {"crit", 6},   {"fatal", 6}};

constexpr bool digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool alphabetic(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
constexpr bool letter(char c) { return digit(c) || alphabetic(c); }
constexpr bool in_local(char c) { return letter(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'; }
constexpr char small(char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }

// The place of a word among the levels, -1 if it is none.
int level(Text word) {
  for (const auto &[name, place] : LEVELS) {
    uint32_t at = 0;
    while (at < word.len && name[at] && small(word.data[at]) == name[at]) at++;
    if (at == word.len && !name[at]) return place;
  }
  return -1;
}

// Reads the configuration, whose shape the schema has checked. What was read outlives the call.
class Config {
public:
  explicit Config(Text json) : at(json.data), end(json.data + json.len) { used = 0; }

  const char *read() {
    least = -1;
    columns[0] = {"level", 5}, columns_len = 1;
    for (Text key; (key = next()).data && at < end;) {
      if (sawlog_is(key, "at_least")) {
        if ((least = level(next())) < 0) return "at_least is no level";
      } else if (sawlog_is(key, "name")) add_name = next();
      else if (sawlog_is(key, "text")) add_text = next();
      else if (sawlog_is(key, "fields")) {
        for (; at < end && *at != ']'; at++)
          if (*at == '"' && columns_len <= FIELDS_MAX) columns[columns_len++] = next(), at--;
      }
    }
    return used == sizeof texts ? "the configuration is too long" : least < 0 ? "at_least is missing" : nullptr;
  }

private:
  const char *at, *end;
  static inline char texts[8192];
  static inline uint32_t used;

  static void put(uint32_t byte) {
    if (used < sizeof texts) texts[used++] = char(byte);
  }

  static void put_letter(uint32_t c) {
    if (c < 0x80) return put(c);
    if (c >= 0x10000) put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 63));
    else if (c >= 0x800) put(0xe0 | c >> 12);
    if (c >= 0x800) put(0x80 | (c >> 6 & 63));
    else put(0xc0 | c >> 6);
    put(0x80 | (c & 63));
  }

  uint32_t four_digits() {
    uint32_t n = 0;
    for (int i = 0; i < 4 && at < end; i++, at++) n = n << 4 | uint32_t(*at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10);
    return n;
  }

  // The next string of the JSON text.
  Text next() {
    while (at < end && *at != '"') at++;
    uint32_t start = used;
    for (at++; at < end && *at != '"';) {
      if (*at != '\\') {
        put(uint8_t(*at++));
        continue;
      }
      char c = at[1];
      at += 2;
      if (c == 'u') {
        uint32_t code = four_digits();
        if (code >> 10 == 0x36) at += 2, code = 0x10000 + ((code & 0x3ff) << 10) + (four_digits() & 0x3ff);
        put_letter(code);
      } else put(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : uint8_t(c));
    }
    at++;
    return {texts + start, used - start};
  }
};

struct Found { uint32_t start, end; }; // end = 0: nothing

// The address around the @ at `at`, which begins at `from` at the earliest.
Found email(Text t, uint32_t from, uint32_t at) {
  bool named = false;
  uint32_t start = at, end = 0;
  while (start > from && in_local(t.data[start - 1])) named |= letter(t.data[--start]);
  if (!named || at + 1 == t.len || t.data[at + 1] == '.') return {};
  for (uint32_t i = at + 1; i < t.len && (letter(t.data[i]) || t.data[i] == '.' || t.data[i] == '-'); i++) {
    uint32_t top = i + 1;
    if (t.data[i] != '.') continue;
    while (top < t.len && alphabetic(t.data[top])) top++;
    if (top - i > 2) end = top;
  }
  return {start, end};
}

// The card number that begins at `at`.
Found card(Text t, uint32_t at) {
  uint32_t digits[19], len = 0, end = at, sum = 0;
  for (uint32_t i = at; i < t.len; i++) {
    if (digit(t.data[i])) {
      if (len == 19) return {};
      digits[len++] = uint32_t(t.data[i] - '0'), end = i + 1;
    } else if ((t.data[i] != ' ' && t.data[i] != '-') || end != i) break;
  }
  if (len < 13 || (end < t.len && letter(t.data[end]))) return {};
  for (uint32_t i = 0; i < len; i++) {
    uint32_t d = digits[len - 1 - i] << i % 2;
    sum += d > 9 ? d - 9 : d;
  }
  return {at, sum % 10 ? 0 : end};
}

// Appends texts to memory that has room for them.
struct Writer {
  char *out;
  void append(const char *from, uint32_t len) { for (uint32_t i = 0; i < len; i++) *out++ = from[i]; }
};

// Writes the text without addresses and card numbers; false if there were none.
bool redact(Text t, Writer &writer) {
  uint32_t done = 0;
  for (uint32_t at = 0; at < t.len;) {
    bool is_email = t.data[at] == '@';
    Found found{};
    if (is_email) found = email(t, done, at);
    else if (digit(t.data[at]) && (at == 0 || !letter(t.data[at - 1]))) found = card(t, at);
    if (!found.end) {
      at++;
      continue;
    }
    writer.append(t.data + done, found.start - done);
    is_email ? writer.append("[email]", 7) : writer.append("[card]", 6);
    done = at = found.end;
  }
  if (done) writer.append(t.data + done, t.len - done);
  return done > 0;
}

template <typename T> T *memory(uint32_t count) { return static_cast<T *>(sawlog_alloc(count * sizeof(T), alignof(T))); }

sawlog_update redact_column(const sawlog_batch &batch, uint32_t column) {
  // The shortest address has six letters, its name seven.
  char *data = memory<char>(2 * batch.columns[column].data_len + 8);
  auto *rows = memory<uint32_t>(batch.count), *offsets = memory<uint32_t>(batch.count + 1);
  uint32_t len = 0;
  Writer writer{data};
  offsets[0] = 0;
  for (uint32_t row = 0; row < batch.count; row++) {
    Text text = sawlog_value(&batch, column, row);
    if (!text.data || sawlog_is_json(&batch, column, row) || !redact(text, writer)) continue;
    rows[len++] = row;
    offsets[len] = uint32_t(writer.out - data);
  }
  return {columns[column], rows, len, {offsets, len + 1, data, uint32_t(writer.out - data), {}, {}}};
}

} // namespace

const char *sawlog_configure(sawlog_text config, sawlog_registration *registration) {
  const char *error = Config(config).read();
  registration->name = {"tidy", 4};
  registration->version = {"0.1.0", 5};
  registration->columns = columns;
  registration->columns_len = columns_len;
  return error;
}

const char *sawlog_process(const sawlog_batch *batch, sawlog_edits *edits) {
  uint64_t *keep = sawlog_new_mask(batch->count, &edits->keep);
  for (uint32_t row = 0; row < batch->count; row++) {
    Text word = sawlog_value(batch, 0, row);
    int found = word.data ? level(word) : -1;
    if (found < 0 || found >= least) keep[row / 64] |= uint64_t{1} << (row % 64);
  }
  auto *all = memory<sawlog_edit>(columns_len + 1);
  edits->edits = all;
  for (uint32_t column = 1; column < columns_len; column++) {
    sawlog_update update = redact_column(*batch, column);
    if (update.rows_len) all[edits->edits_len++] = sawlog_change(update);
  }
  all[edits->edits_len++] = sawlog_set_all(add_name, add_text);
  return nullptr;
}
