// Drops what is only of use to developers: a plugin in AssemblyScript by the contract's binary interface alone, without an SDK.

const NAME = memory.data<u8>([110, 111, 45, 100, 101, 98, 117, 103]); // "no-debug"
const VERSION = memory.data<u8>([48, 46, 49, 46, 48]); // "0.1.0"
const LEVEL = memory.data<u8>([108, 101, 118, 101, 108]); // "level"
const DEBUG = memory.data<u8>([100, 101, 98, 117, 103]); // "debug"

/** The list of one column: a text is where it is and how long. */
const COLUMNS = memory.data(8, 4);
/** `result<registration, string>`, with the tag 0 of a registration. */
const REGISTRATION = memory.data(64, 8);
/** `result<edits, failure>`, with nothing but a mask of the rows that are kept. */
const EDITS = memory.data(80, 8);

/** What a call is given and what it answers, one piece after the other, until the answer was read. */
let next: usize = __heap_base;

function allocate(alignment: usize, size: usize): usize {
  const at = (next + alignment - 1) & ~(alignment - 1);
  next = at + size;
  const pages = <i32>((next + 65535) >> 16) - memory.size();
  if (pages > 0 && memory.grow(pages) < 0) unreachable();
  return at;
}

function putText(at: usize, text: usize, length: usize): void {
  store<usize>(at, text);
  store<usize>(at, length, 4);
}

export function realloc(_old: usize, _size: usize, alignment: usize, size: usize): usize {
  return allocate(alignment, size);
}

export function configure(_config: usize, _length: usize, _files: usize, _count: usize): usize {
  putText(COLUMNS, LEVEL, 5);
  putText(REGISTRATION + 8, NAME, 8);
  putText(REGISTRATION + 16, VERSION, 5);
  putText(REGISTRATION + 24, COLUMNS, 1);
  return REGISTRATION;
}

export function process(
  count: u32, _input: usize, _length: usize, _time: i64, _watermark: i64, _timestamps: usize, _times: usize, columns: usize, _columns: usize,
): usize {
  const words: usize = (count + 63) / 64;
  const keep = allocate(8, words * 8);
  memory.fill(keep, 0, words * 8);
  const offsets = load<usize>(columns);
  const data = load<usize>(columns, 8);
  for (let row: usize = 0; row < count; row++) {
    const begin = load<u32>(offsets + row * 4);
    const end = load<u32>(offsets + row * 4, 4);
    if (end - begin == 5 && memory.compare(data + begin, DEBUG, 5) == 0) continue;
    const word = keep + (row >> 6) * 8;
    store<u64>(word, load<u64>(word) | (<u64>1 << (row & 63)));
  }
  putText(EDITS + 8, keep, words);
  return EDITS;
}

export function processed(_edits: usize): void {
  next = __heap_base;
}
