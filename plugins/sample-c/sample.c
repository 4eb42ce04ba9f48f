/* Keeps one record in so many. The choice depends on the record id alone, so a replay chooses the same records. */
#include "sawlog_plugin.h"

static uint32_t keep_one_in = 1;
static const sawlog_text COLUMNS[] = {{"$rid", 4}};
static const sawlog_text REASONS[] = {{"not_sampled", 11}};

/* The number behind the only member of the configuration, whose shape the schema has checked. */
static uint32_t number_in(sawlog_text config) {
  uint32_t number = 0, i = 0;
  while (i < config.len && config.data[i] != ':') i++;
  for (; i < config.len; i++)
    if (config.data[i] >= '0' && config.data[i] <= '9') number = 10 * number + (uint32_t)(config.data[i] - '0');
    else if (number) break;
  return number;
}

const char *sawlog_configure(sawlog_text config, sawlog_registration *registration) {
  keep_one_in = number_in(config);
  if (keep_one_in == 0) return "keep_one_in must be 1 or more";
  registration->name = (sawlog_text){"sample", 6};
  registration->version = (sawlog_text){"0.1.0", 5};
  registration->columns = COLUMNS;
  registration->columns_len = 1;
  registration->drop_reasons = REASONS;
  registration->drop_reasons_len = 1;
  return NULL;
}

/* FNV-1a, then mixed: ids of neighbours differ in few characters. */
static uint32_t hash(sawlog_text text) {
  uint64_t h = 14695981039346656037u;
  for (uint32_t i = 0; i < text.len; i++) h = (h ^ (unsigned char)text.data[i]) * 1099511628211u;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  return (uint32_t)(h >> 32);
}

const char *sawlog_process(const sawlog_batch *batch, sawlog_edits *edits) {
  uint64_t *keep = sawlog_new_mask(batch->count, &edits->keep);
  sawlog_dropped *dropped = sawlog_alloc(batch->count * sizeof *dropped, _Alignof(sawlog_dropped));
  edits->dropped = dropped;
  for (uint32_t row = 0; row < batch->count; row++) {
    if (hash(sawlog_value(batch, 0, row)) % keep_one_in == 0) keep[row / 64] |= (uint64_t)1 << (row % 64);
    else dropped[edits->dropped_len++] = (sawlog_dropped){row, 1};
  }
  return NULL;
}
