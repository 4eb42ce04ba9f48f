// Bitmasks: the contract has words of 64 bits, JavaScript counts fast in 32. Both see the same bytes, little end first, as WASM
// and every machine that runs this SDK's tests have it.

/** A mask of `rows` clear bits. */
export const clear = (rows) => new Uint32Array(2 * Math.ceil(rows / 64));

/** A mask of `rows` set bits. */
export const full = (rows) => clear(rows).fill(0xffffffff);

/** Whether bit `row` is set. */
export const has = (mask, row) => ((mask[row >>> 5] >>> (row & 31)) & 1) === 1;

/** Sets bit `row`. */
export const set = (mask, row) => {
  mask[row >>> 5] |= 1 << (row & 31);
};

/** Clears bit `row`. */
export const unset = (mask, row) => {
  mask[row >>> 5] &= ~(1 << (row & 31));
};

/** The contract's words as a mask. */
export const fromWords = (words) => new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);

/** A mask as the contract's words. */
export const toWords = (mask) => new BigUint64Array(mask.buffer, mask.byteOffset, mask.length >>> 1);
