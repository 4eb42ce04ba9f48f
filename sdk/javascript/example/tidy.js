// The example that every SDK has: see sdk/example.

import { Update } from "@sawlog/sdk";

const WORDS = [
  ["trace"],
  ["debug"],
  ["info", "information"],
  ["notice"],
  ["warn", "warning"],
  ["error", "err"],
  ["critical", "crit", "fatal"],
];
const LEVELS = new Map(WORDS.flatMap((words, place) => words.map((word) => [word, place])));

/** What has no letter that a change of case could make one of ours. */
const WORD = /^[A-Za-z]+$/;
/** What a text must have to hold either: most have neither, and are done after one look. */
const MAYBE = /@|[0-9](?:[ -]?[0-9]){12}/;
/** What may begin an address or a card number. */
const CANDIDATE = /@|(?<![A-Za-z0-9])[0-9]/g;
const LOCAL = /[A-Za-z0-9._%+-]/;
const DOMAIN = /[A-Za-z0-9-][A-Za-z0-9.-]*\.[A-Za-z]{2,}/y;
const DIGITS = /[0-9](?:[ -]?[0-9])*/y;

/** The place of a word among the levels; undefined if it is none. */
function level(word) {
  if (word === undefined) {
    return undefined;
  }
  return LEVELS.get(word) ?? (WORD.test(word) ? LEVELS.get(word.toLowerCase()) : undefined);
}

/** What matches the sticky `pattern` right at `at`. */
function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

function luhn(digits) {
  let total = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]) * (1 + (i % 2));
    total += digit > 9 ? digit - 9 : digit;
  }
  return total % 10 === 0;
}

/** Where the address around the @ at `at` begins and ends. */
function email(text, from, at) {
  let start = at;
  while (start > from && LOCAL.test(text[start - 1])) {
    start--;
  }
  const domain = matchAt(DOMAIN, text, at + 1);
  if (domain === undefined || !/[A-Za-z0-9]/.test(text.slice(start, at))) {
    return undefined;
  }
  return { from: start, to: at + 1 + domain.length, word: "[email]" };
}

/** Where the card number that begins at `at` ends. */
function card(text, at) {
  const found = matchAt(DIGITS, text, at);
  const [digits, to] = [found.replace(/[ -]/g, ""), at + found.length];
  const fits = digits.length >= 13 && digits.length <= 19 && !/[A-Za-z0-9]/.test(text.charAt(to)) && luhn(digits);
  return fits ? { from: at, to, word: "[card]" } : undefined;
}

/** The text without addresses and card numbers; undefined if there were none. */
export function redact(text) {
  if (!MAYBE.test(text)) {
    return undefined;
  }
  let [out, done] = ["", 0];
  CANDIDATE.lastIndex = 0;
  for (let found = CANDIDATE.exec(text); found !== null; found = CANDIDATE.exec(text)) {
    const span = found[0] === "@" ? email(text, done, found.index) : card(text, found.index);
    if (span !== undefined) {
      out += text.slice(done, span.from) + span.word;
      done = CANDIDATE.lastIndex = span.to;
    }
  }
  return done > 0 ? out + text.slice(done) : undefined;
}

export class Tidy {
  configure(config) {
    const settings = JSON.parse(config);
    this.least = level(settings.at_least);
    if (this.least === undefined) {
      throw new Error(`at_least: ${JSON.stringify(settings.at_least)} is no level`);
    }
    this.fields = settings.fields;
    this.added = settings.add;
    return { name: "tidy", version: "0.1.0", columns: ["level", ...this.fields] };
  }

  process(batch, edits) {
    const [levels, ...texts] = batch.columns;
    edits.keepEach((row) => (level(levels.get(row)) ?? Infinity) >= this.least);
    texts.forEach((column, i) => {
      const update = new Update(this.fields[i]);
      for (let row = 0; row < batch.count; row++) {
        const text = column.text(row);
        const clean = text === undefined ? undefined : redact(text);
        if (clean !== undefined) {
          update.text(row, clean);
        }
      }
      edits.update(update);
    });
    edits.setAll(this.added.name, this.added.text);
  }
}
