//! How values cross between two processes: little endian, lengths before contents, whole numbers and bytes in one piece. Knows no
//! process. What is read may come from whoever took the other process over, so every length is held against what is there.

mod contract;
#[cfg(test)]
mod fuzz;
mod messages;

pub use messages::{Asked, Load, Ready, Request, write_call};

/// What one message may come to in memory, bytes: contents of many small values take more than they do on the way.
const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Room that is made for a list before its values are there, values.
const ROOM_MAX: usize = 1 << 12;

/// A message that no honest process sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it sent what is no message")]
pub struct Malformed;

/// A message that is being read.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    memory_bytes_left: usize,
}

/// The value that is the whole message.
pub fn read<T: Wire>(message: &[u8]) -> Result<T, Malformed> {
    Reader { rest: message, memory_bytes_left: MEMORY_BYTES_MAX }.only()
}

/// The same of whoever is trusted, however much memory it takes.
pub fn read_trusting<T: Wire>(message: &[u8]) -> Result<T, Malformed> {
    Reader { rest: message, memory_bytes_left: usize::MAX }.only()
}

impl<'a> Reader<'a> {
    fn only<T: Wire>(mut self) -> Result<T, Malformed> {
        let value = T::get(&mut self)?;
        self.rest.is_empty().then_some(value).ok_or(Malformed)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*array)
    }

    fn takes_memory(&mut self, values: usize, each: usize) -> Result<(), Malformed> {
        let bytes = values.checked_mul(each).ok_or(Malformed)?;
        self.memory_bytes_left = self.memory_bytes_left.checked_sub(bytes).ok_or(Malformed)?;
        Ok(())
    }
}

/// A value that crosses.
pub trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Values behind one another.
    fn put_all(all: &[Self], out: &mut Vec<u8>) {
        all.iter().for_each(|value| value.put(out));
    }

    /// `len` values behind one another.
    fn get_all(len: usize, from: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        from.takes_memory(len, size_of::<Self>())?;
        let mut all = Vec::with_capacity(len.min(ROOM_MAX));
        for _ in 0..len {
            all.push(Self::get(from)?);
        }
        Ok(all)
    }
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(from.array::<1>()?[0])
    }

    fn put_all(all: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(all);
    }

    fn get_all(len: usize, from: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        Ok(from.bytes(len)?.to_vec())
    }
}

/// Numbers of several bytes; lists of them cross in one piece.
macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Wire for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self::from_le_bytes(from.array()?))
            }

            fn put_all(all: &[Self], out: &mut Vec<u8>) {
                const BYTES: usize = size_of::<$number>();
                let start = out.len();
                out.resize(start + BYTES * all.len(), 0);
                for (place, number) in out[start..].chunks_exact_mut(BYTES).zip(all) {
                    place.copy_from_slice(&number.to_le_bytes());
                }
            }

            fn get_all(len: usize, from: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
                const BYTES: usize = size_of::<$number>();
                let bytes = from.bytes(len.checked_mul(BYTES).ok_or(Malformed)?)?;
                let (numbers, _) = bytes.as_chunks::<BYTES>();
                Ok(numbers.iter().map(|number| Self::from_le_bytes(*number)).collect())
            }
        }
    )* };
}

numbers!(u32, u64, i64, f64);

impl Wire for usize {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        usize::try_from(u64::get(from)?).map_err(|_| Malformed)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::get(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        T::put_all(self, out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = usize::get(from)?;
        T::get_all(len, from)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        String::from_utf8(Vec::get(from)?).map_err(|_| Malformed)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        bool::get(from)?.then(|| T::get(from)).transpose()
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if bool::get(from)? { Ok(T::get(from)?) } else { Err(E::get(from)?) })
    }
}

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn get(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::get(from)?, B::get(from)?))
    }
}

/// Structures: their fields in this order.
macro_rules! fields {
    ($($structure:ty { $($field:ident),* })*) => { $(
        impl $crate::apart::wire::Wire for $structure {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::apart::wire::Wire::put(&self.$field, out);)*
            }

            fn get(
                from: &mut $crate::apart::wire::Reader<'_>,
            ) -> Result<Self, $crate::apart::wire::Malformed> {
                Ok(Self { $($field: $crate::apart::wire::Wire::get(from)?),* })
            }
        }
    )* };
}

/// Enumerations: a number for the case, and what it holds.
macro_rules! cases {
    ($($enumeration:ty { $($number:literal => $case:ident $(($($inner:ident),*))?),* })*) => { $(
        impl $crate::apart::wire::Wire for $enumeration {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$case $(($($inner),*))? => {
                        out.push($number);
                        $($($crate::apart::wire::Wire::put($inner, out);)*)?
                    })*
                }
            }

            fn get(
                from: &mut $crate::apart::wire::Reader<'_>,
            ) -> Result<Self, $crate::apart::wire::Malformed> {
                match <u8 as $crate::apart::wire::Wire>::get(from)? {
                    $($number => {
                        $($(let $inner = $crate::apart::wire::Wire::get(from)?;)*)?
                        Ok(Self::$case $(($($inner),*))?)
                    })*
                    _ => Err($crate::apart::wire::Malformed),
                }
            }
        }
    )* };
}

use {cases, fields};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn crossed<T: Wire>(value: &T) -> Result<T, Malformed> {
        let mut message = Vec::new();
        value.put(&mut message);
        for len in 0..message.len() {
            assert!(read::<T>(&message[..len]).is_err(), "cut at {len} of {}", message.len());
        }
        read(&message)
    }

    type Several = (Vec<(u32, String)>, (Vec<u64>, Result<Option<i64>, Vec<u8>>));

    #[test]
    fn what_crosses_is_what_was_sent_and_a_part_of_it_is_no_message() {
        let value: Several = (vec![(1, "é".into()), (2, String::new())], (vec![3, u64::MAX], Ok(Some(-1))));
        assert_eq!(crossed(&value), Ok(value));
        let value: Several = (Vec::new(), (Vec::new(), Err(vec![7; 100])));
        assert_eq!(crossed(&value), Ok(value));
    }

    #[test]
    fn lengths_that_lie_are_no_message_and_take_no_memory() {
        for len in [8, 1 << 20, u64::MAX / 8, u64::MAX] {
            let message = [&len.to_le_bytes()[..], &[0; 7]].concat();
            assert_eq!(read::<Vec<u64>>(&message), Err(Malformed), "{len}");
            assert_eq!(read::<Vec<Option<String>>>(&message), Err(Malformed), "{len}");
            assert_eq!(read::<String>(&message), Err(Malformed), "{len}");
        }
        // Fifty million values of one byte each that would take 24 in memory.
        let message = [&50_000_000u64.to_le_bytes()[..], &vec![0; 50_000_000]].concat();
        assert_eq!(read::<Vec<Option<String>>>(&message), Err(Malformed));
    }
}
