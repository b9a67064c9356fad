//! Where the quotes of a record stand: a map of them with a bit for each byte, made sixty-four bytes at a time.
//!
//! It is the one question that is asked of every byte, and it is asked in two ways: with AVX2 where the processor has it, and with
//! plain arithmetic on eight bytes at a time everywhere else. Both give the same answer, which a test compares.

/// The longest record that is looked at, in bytes.
const LONGEST: usize = 4096;

/// The quotes of a record, and that it has neither control characters nor backslashes.
#[derive(Debug)]
pub(super) struct Quotes {
    /// A bit for each byte, and behind the last of them at least sixty-four that are zero.
    map: [u64; LONGEST / 64 + 2],
    /// How many words of it are of this record.
    words: usize,
}

/// What is seen in sixty-four bytes.
pub(super) struct Block {
    /// A bit for each quote.
    quotes: u64,
    /// Whether any is a control character or a backslash.
    odd: bool,
    /// Whether any is not ASCII.
    wide: bool,
}

/// One of the two ways to look at bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Anywhere,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Present),
}

/// What is done with a map, compiled for each of the ways.
pub(super) trait Task {
    type Output;

    /// To be marked `#[inline(always)]`, as all that it calls and that shall have the instructions of the way.
    fn run(self, look: impl Fn(&[u8; 64]) -> Block) -> Self::Output;
}

impl Way {
    /// The faster one, if this processor can go it.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(present) = avx2::Present::here() {
            return Self::Avx2(present);
        }
        Self::Anywhere
    }

    /// Does it this way.
    #[inline]
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Self::Anywhere => task.run(anywhere::look),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(present) => avx2::run(present, task),
        }
    }
}

impl Default for Quotes {
    fn default() -> Self {
        Self { map: [0; LONGEST / 64 + 2], words: 0 }
    }
}

impl Quotes {
    /// Maps the quotes of `payload` and returns it as text; nothing if it is none, if it has control characters or
    /// backslashes, if it is shorter than sixty-four bytes, or too long.
    #[inline(always)]
    pub(super) fn find<'a>(&mut self, payload: &'a [u8], look: impl Fn(&[u8; 64]) -> Block) -> Option<&'a str> {
        let last = payload.last_chunk().filter(|_| payload.len() <= LONGEST)?;
        let (blocks, rest) = payload.as_chunks();
        let (mut odd, mut wide) = (false, false);
        let mut see = |bytes: &[u8; 64]| {
            let block = look(bytes);
            (odd, wide) = (odd | block.odd, wide | block.wide);
            block.quotes
        };
        for (bytes, map) in blocks.iter().zip(&mut self.map) {
            *map = see(bytes);
        }
        // The last sixty-four bytes, without those that the blocks have had; which may be all of them.
        self.map[blocks.len()] = see(last).checked_shr(64 - rest.len() as u32).unwrap_or(0);
        self.map[blocks.len() + 1] = 0;
        self.words = blocks.len() + 1;
        match (odd, wide) {
            (true, _) => None,
            (false, true) => str::from_utf8(payload).ok(),
            (false, false) => Some(ascii(payload)),
        }
    }

    /// The first quote at or after a place; a place far beyond the end if there is none.
    #[inline(always)]
    pub(super) fn next(&self, from: usize) -> usize {
        let (word, bit) = (from / 64, from % 64);
        let ahead = match self.map.get(word..).and_then(<[u64]>::first_chunk) {
            Some([here, behind]) => here >> bit | behind << 1 << (63 - bit),
            None => 0,
        };
        if ahead == 0 { self.next_word(word + 1) } else { from + ahead.trailing_zeros() as usize }
    }

    /// The first quote in or after a word of the map.
    #[cold]
    fn next_word(&self, word: usize) -> usize {
        let mut words = self.map[..self.words].iter().enumerate().skip(word);
        words.find(|(_, map)| **map != 0).map_or(usize::MAX, |(at, map)| at * 64 + map.trailing_zeros() as usize)
    }
}

/// Text in which every byte was seen to be ASCII.
#[inline(always)]
#[allow(unsafe_code, reason = "what was looked at once is not looked at again")]
fn ascii(payload: &[u8]) -> &str {
    debug_assert!(payload.is_ascii());
    // SAFETY: `Quotes::find`, which alone calls this, has seen no byte that is not ASCII, and ASCII is UTF-8.
    unsafe { str::from_utf8_unchecked(payload) }
}

/// Eight bytes at a time, in ordinary registers.
mod anywhere {
    use super::Block;

    /// The highest bit of each byte.
    const HIGH: u64 = each(0x80);

    #[inline(always)]
    pub(super) fn look(bytes: &[u8; 64]) -> Block {
        let (mut quotes, mut odd, mut wide) = (0, 0, 0);
        for (i, bytes) in bytes.as_chunks().0.iter().enumerate() {
            let bytes = u64::from_le_bytes(*bytes);
            quotes |= gather(equal(bytes, b'"')) << (8 * i);
            odd |= equal(bytes, b'\\') | controls(bytes);
            wide |= bytes & HIGH;
        }
        Block { quotes, odd: odd != 0, wide: wide != 0 }
    }

    /// Eight times the same byte.
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }

    /// The highest bit of each byte that is `byte`. Adding 127 to seven bits carries into the eighth unless all are zero.
    const fn equal(bytes: u64, byte: u8) -> u64 {
        let differs = bytes ^ each(byte);
        !(((differs & !HIGH) + !HIGH) | differs) & HIGH
    }

    /// The highest bit of each byte below a blank. Taking a blank away from such a byte and 128 clears that bit.
    const fn controls(bytes: u64) -> u64 {
        !((bytes | HIGH) - each(b' ')) & !bytes & HIGH
    }

    /// The highest bits of eight bytes as one byte, the first byte's lowest: the factor moves each to its place at the top.
    const fn gather(highest: u64) -> u64 {
        (highest >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

/// Thirty-two bytes at a time.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vectors are loaded through pointers, and not every processor has these instructions")]
pub(super) mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8,
    };

    use super::{Block, Task};

    /// Proof that this processor has the instructions: there is no other way to one of these than [`Present::here`].
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Present(());

    impl Present {
        pub(super) fn here() -> Option<Self> {
            let present = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt");
            present.then_some(Self(()))
        }
    }

    #[inline]
    pub(super) fn run<T: Task>(_: Present, task: T) -> T::Output {
        // SAFETY: the processor has what is asked for, as `Present` proves.
        unsafe { run_here(task) }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn run_here<T: Task>(task: T) -> T::Output {
        task.run(|bytes| look(bytes))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn look(bytes: &[u8; 64]) -> Block {
        let (first, second) = (load(&bytes[..32]), load(&bytes[32..]));
        let quotes = |half| u64::from(mask(_mm256_cmpeq_epi8(half, _mm256_set1_epi8(b'"'.cast_signed()))));
        let odd = _mm256_or_si256(odd(first), odd(second));
        let wide = _mm256_or_si256(first, second);
        Block { quotes: quotes(first) | quotes(second) << 32, odd: mask(odd) != 0, wide: mask(wide) != 0 }
    }

    /// All ones in each byte that is a backslash, or not above the last control character.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn odd(bytes: __m256i) -> __m256i {
        let backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\'.cast_signed()));
        let control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
        _mm256_or_si256(backslash, control)
    }

    /// The highest bit of each byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(bytes: __m256i) -> u32 {
        _mm256_movemask_epi8(bytes).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8]) -> __m256i {
        assert_eq!(bytes.len(), 32);
        // SAFETY: thirty-two bytes are there, and any address will do.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text, and the place of each quote.
    type Found<'a> = Option<(&'a str, Vec<usize>)>;

    struct FindAll<'a>(&'a [u8]);

    impl<'a> Task for FindAll<'a> {
        type Output = Found<'a>;

        fn run(self, look: impl Fn(&[u8; 64]) -> Block) -> Found<'a> {
            // As a longer record leaves it behind.
            let mut quotes = Quotes { map: [u64::MAX; LONGEST / 64 + 2], words: LONGEST / 64 };
            let text = quotes.find(self.0, look)?;
            let next = |from| Some(quotes.next(from)).filter(|at| *at < text.len());
            Some((text, std::iter::successors(next(0), |at| next(at + 1)).collect()))
        }
    }

    /// What a reader with all the time in the world says.
    fn slowly(payload: &[u8]) -> Found<'_> {
        let odd = payload.iter().any(|byte| matches!(byte, b'\\' | 0..0x20));
        let text = str::from_utf8(payload).ok().filter(|_| !odd && (64..=LONGEST).contains(&payload.len()))?;
        Some((text, text.match_indices('"').map(|(at, _)| at).collect()))
    }

    #[test]
    fn every_way_finds_every_quote_and_every_odd_byte() {
        let mut payloads = vec![vec![b' '; 63], vec![b'"'; 97], vec![b'x'; LONGEST], vec![b'x'; LONGEST + 1]];
        // Every byte at every place of a block, alone and among quotes, and in a character of two bytes.
        // Miri, which sees every access, takes its time.
        let step = if cfg!(miri) { 37 } else { 1 };
        for filler in [b'x', b'"'] {
            for length in [64, 65, 90, 128, 130] {
                for at in (1..length).step_by(step) {
                    for byte in (0..=u8::MAX).step_by(step) {
                        let mut payload = vec![filler; length];
                        payload[at] = byte;
                        payloads.push(payload.clone());
                        payload[at - 1] = 0xc3;
                        payloads.push(payload);
                    }
                }
            }
        }
        // Quotes far from each other.
        for at in [0, 1, 63, 64, 127, 128, 129, 500, LONGEST - 1] {
            let mut payload = vec![b'x'; LONGEST];
            (payload[at], payload[LONGEST - 2]) = (b'"', b'"');
            payloads.push(payload);
        }
        for payload in payloads {
            for way in [Way::Anywhere, Way::best()] {
                assert_eq!(way.run(FindAll(&payload)), slowly(&payload), "{way:?}: {}", payload.escape_ascii());
            }
        }
    }
}
