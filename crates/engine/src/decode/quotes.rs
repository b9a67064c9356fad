//! Where the quotes of a record stand: a map of them with a bit for each byte, made sixty-four bytes at a time.
//!
//! It is the one question that is asked of every byte, and it is asked in two ways: with AVX2 where the processor has it, and with
//! plain arithmetic on eight bytes at a time everywhere else. Both give the same answer, which a test compares.

/// How many words a map has.
const WORDS: usize = 64;

/// The longest record that is looked at, in bytes.
const LONGEST: usize = (WORDS - 1) * 64;

/// The quotes of a record, and that it has neither control characters nor backslashes.
#[derive(Debug)]
pub(crate) struct Quotes {
    /// A bit for each byte, up to the end of the word that has the last. What is behind is of longer records.
    map: [u64; WORDS + 1],
    /// How many words of it are of this record.
    words: usize,
}

/// One of the two ways to look at bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SimdBackend {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Present),
}

/// A way's function: maps the quotes of a payload and returns it as text; nothing if it is none, if it has control characters or
/// backslashes, if it is shorter than sixty-four bytes, or too long.
pub(crate) trait FindQuotes: for<'a> Fn(&mut Quotes, &'a [u8]) -> Option<&'a str> {}

impl<F: for<'a> Fn(&mut Quotes, &'a [u8]) -> Option<&'a str>> FindQuotes for F {}

/// What is done with a map, compiled for each of the ways.
pub(crate) trait SimdTask {
    type Output;

    /// To be marked `#[inline(always)]`, as all that it calls and that shall have the instructions of the way.
    fn run(self, find: impl FindQuotes) -> Self::Output;
}

impl SimdBackend {
    /// The faster one, if this processor can go it.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(present) = avx2::Present::here() {
            return Self::Avx2(present);
        }
        Self::Portable
    }

    /// Does it this way.
    #[inline]
    pub(crate) fn run<T: SimdTask>(self, task: T) -> T::Output {
        match self {
            Self::Portable => task.run(portable::find),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(present) => avx2::run(present, task),
        }
    }
}

/// What is in a payload besides quotes.
struct Contents {
    /// A control character or a backslash.
    odd: bool,
    /// Something that is not ASCII.
    wide: bool,
}

impl Default for Quotes {
    fn default() -> Self {
        Self { map: [0; WORDS + 1], words: 0 }
    }
}

impl Quotes {
    /// The one loop of all ways. `look` sees sixty-four bytes, answers with a bit for each quote, and adds to what was seen before;
    /// `contents` says what that comes to.
    #[inline(always)]
    fn find<'a, Seen: Copy>(
        &mut self,
        payload: &'a [u8],
        nothing: Seen,
        look: impl Fn(&[u8; 64], Seen) -> (u64, Seen),
        contents: impl Fn(Seen) -> Contents,
    ) -> Option<&'a str> {
        let last = payload.last_chunk().filter(|_| payload.len() <= LONGEST)?;
        let (blocks, rest) = payload.as_chunks();
        let mut seen = nothing;
        for (bytes, map) in blocks.iter().zip(&mut self.map) {
            (*map, seen) = look(bytes, seen);
        }
        // The last sixty-four bytes, without those that the blocks have had; which may be all of them.
        let (quotes, seen) = look(last, seen);
        self.words = blocks.len() + 1;
        self.map[blocks.len()] = quotes.checked_shr(64 - rest.len() as u32).unwrap_or(0);
        match contents(seen) {
            Contents { odd: true, .. } => None,
            Contents { wide: true, .. } => str::from_utf8(payload).ok(),
            Contents { .. } => Some(ascii(payload)),
        }
    }

    /// The first quote at or after a place in the record, or at its end; a place beyond the end if there is none. For a place
    /// beyond the end, any.
    #[inline(always)]
    pub(super) fn next(&self, from: usize) -> usize {
        let (word, bit) = (from / 64 % WORDS, from % 64);
        let ahead = self.map[word] >> bit | self.map[word + 1] << 1 << (63 - bit);
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
pub(super) mod portable {
    use super::{Contents, Quotes};

    /// The highest bit of each byte.
    const HIGH: u64 = each(0x80);

    /// The highest bit of each byte that is odd, or wide.
    #[derive(Clone, Copy, Default)]
    struct Seen {
        odd: u64,
        wide: u64,
    }

    #[inline(always)]
    pub(in super::super) fn find<'a>(quotes: &mut Quotes, payload: &'a [u8]) -> Option<&'a str> {
        let contents = |seen: Seen| Contents { odd: seen.odd != 0, wide: seen.wide != 0 };
        quotes.find(payload, Seen::default(), look, contents)
    }

    #[inline(always)]
    fn look(bytes: &[u8; 64], mut seen: Seen) -> (u64, Seen) {
        let mut quotes = 0;
        for (i, bytes) in bytes.as_chunks().0.iter().enumerate() {
            let bytes = u64::from_le_bytes(*bytes);
            quotes |= gather(equal(bytes, b'"')) << (8 * i);
            seen.odd |= equal(bytes, b'\\') | controls(bytes);
            seen.wide |= bytes & HIGH;
        }
        (quotes, seen)
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

    use super::{Contents, Quotes, SimdTask};

    /// Proof that this processor has the instructions: there is no other way to one of these than [`Present::here`].
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Present(());

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
    pub(super) fn run<T: SimdTask>(_: Present, task: T) -> T::Output {
        // SAFETY: the processor has what is asked for, as `Present` proves.
        unsafe { run_here(task) }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn run_here<T: SimdTask>(task: T) -> T::Output {
        task.run(|quotes, payload| find(quotes, payload))
    }

    /// What was seen in each of thirty-two places.
    #[derive(Clone, Copy)]
    struct Seen {
        /// The lowest byte.
        lowest: __m256i,
        /// All ones if there was a backslash.
        backslashes: __m256i,
        /// All bytes, one over the other.
        any: __m256i,
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn find<'a>(quotes: &mut Quotes, payload: &'a [u8]) -> Option<&'a str> {
        let nothing = Seen { lowest: all(u8::MAX), backslashes: all(0), any: all(0) };
        quotes.find(payload, nothing, |bytes, seen| look(bytes, seen), |seen| contents(seen))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn look(bytes: &[u8; 64], mut seen: Seen) -> (u64, Seen) {
        let halves = [load(&bytes[..32]), load(&bytes[32..])];
        for half in halves {
            seen.lowest = _mm256_min_epu8(seen.lowest, half);
            seen.backslashes = _mm256_or_si256(seen.backslashes, _mm256_cmpeq_epi8(half, all(b'\\')));
            seen.any = _mm256_or_si256(seen.any, half);
        }
        let [first, second] = halves.map(|half| u64::from(mask(_mm256_cmpeq_epi8(half, all(b'"')))));
        (first | second << 32, seen)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn contents(seen: Seen) -> Contents {
        let controls = _mm256_cmpeq_epi8(_mm256_min_epu8(seen.lowest, all(0x1f)), seen.lowest);
        Contents { odd: mask(_mm256_or_si256(controls, seen.backslashes)) != 0, wide: mask(seen.any) != 0 }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn all(byte: u8) -> __m256i {
        _mm256_set1_epi8(byte.cast_signed())
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

    impl<'a> SimdTask for FindAll<'a> {
        type Output = Found<'a>;

        fn run(self, find: impl FindQuotes) -> Found<'a> {
            // As a longer record leaves it behind.
            let mut quotes = Quotes { map: [u64::MAX; WORDS + 1], words: WORDS };
            let text = find(&mut quotes, self.0)?;
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
            for simd in [SimdBackend::Portable, SimdBackend::best()] {
                assert_eq!(simd.run(FindAll(&payload)), slowly(&payload), "{simd:?}: {}", payload.escape_ascii());
            }
        }
    }
}
