//! Finds the quotes of a record: a map with one bit per byte, computed for 64 bytes at a time.
//!
//! Only this module examines every byte. It has two backends: AVX2, if the CPU supports it, and plain arithmetic on eight
//! bytes at a time. A test compares their results.

/// Number of words of a map.
const WORDS: usize = 512;

/// Maximum length of a record, in bytes.
const LONGEST: usize = (WORDS - 1) * 64;

/// The quotes of a record without control characters and backslashes.
#[derive(Debug)]
pub(crate) struct Quotes {
    /// One bit per byte, up to the end of the last word of the record. Further words contain bits of longer records.
    map: [u64; WORDS + 1],
    /// Number of words of this record.
    words: usize,
}

/// The instructions that examine the bytes of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SimdBackend {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Present),
}

/// The function of a backend: maps the quotes of a payload and returns it as text. Returns `None` if the payload is not
/// UTF-8, contains control characters or backslashes, is shorter than 64 bytes, or is too long.
pub(crate) trait FindQuotes: for<'a> Fn(&mut Quotes, &'a [u8]) -> Option<&'a str> {}

impl<F: for<'a> Fn(&mut Quotes, &'a [u8]) -> Option<&'a str>> FindQuotes for F {}

/// A task that uses a map, compiled for each backend.
pub(crate) trait SimdTask {
    type Output;

    /// Must be `#[inline(always)]`, as every function below it that must be compiled with the instructions of the backend.
    fn run(self, find: impl FindQuotes) -> Self::Output;
}

impl SimdBackend {
    /// The fastest backend of this CPU.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(present) = avx2::Present::here() {
            return Self::Avx2(present);
        }
        Self::Portable
    }

    /// Runs a task with this backend.
    #[inline]
    pub(crate) fn run<T: SimdTask>(self, task: T) -> T::Output {
        match self {
            Self::Portable => task.run(portable::find),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(present) => avx2::run(present, task),
        }
    }
}

/// Properties of a payload.
struct Contents {
    /// It contains a control character or a backslash.
    odd: bool,
    /// It contains bytes that are not ASCII.
    wide: bool,
}

impl Default for Quotes {
    fn default() -> Self {
        Self { map: [0; WORDS + 1], words: 0 }
    }
}

impl Quotes {
    /// The loop of all backends. `look` examines 64 bytes, returns one bit per quote, and updates the accumulated state;
    /// `contents` evaluates the state at the end.
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
        // The last 64 bytes, without the bits of those that belong to the blocks, which may be all of them.
        let (quotes, seen) = look(last, seen);
        self.words = blocks.len() + 1;
        self.map[blocks.len()] = quotes.checked_shr(64 - rest.len() as u32).unwrap_or(0);
        match contents(seen) {
            Contents { odd: true, .. } => None,
            Contents { wide: true, .. } => str::from_utf8(payload).ok(),
            Contents { .. } => Some(ascii(payload)),
        }
    }

    /// The first quote at or after a position in the record or at its end; a position beyond the end if no quote follows. The
    /// result for a position beyond the end is arbitrary.
    #[inline(always)]
    pub(super) fn next(&self, from: usize) -> usize {
        let (word, bit) = (from / 64 % WORDS, from % 64);
        let ahead = self.map[word] >> bit | self.map[word + 1] << 1 << (63 - bit);
        if ahead == 0 { self.next_word(word + 1) } else { from + ahead.trailing_zeros() as usize }
    }

    /// The first quote in a word of the map or after it.
    #[cold]
    fn next_word(&self, word: usize) -> usize {
        let mut words = self.map[..self.words].iter().enumerate().skip(word);
        words.find(|(_, map)| **map != 0).map_or(usize::MAX, |(at, map)| at * 64 + map.trailing_zeros() as usize)
    }
}

/// Converts a payload of ASCII bytes to text.
#[inline(always)]
#[allow(unsafe_code, reason = "the bytes were examined already")]
fn ascii(payload: &[u8]) -> &str {
    debug_assert!(payload.is_ascii());
    // SAFETY: `Quotes::find`, the only caller, has checked that all bytes are ASCII, and ASCII is UTF-8.
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

    /// A byte, repeated eight times.
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }

    /// The highest bit of each byte equal to `byte`. Adding 127 to seven bits carries into the eighth unless all are zero.
    const fn equal(bytes: u64, byte: u8) -> u64 {
        let differs = bytes ^ each(byte);
        !(((differs & !HIGH) + !HIGH) | differs) & HIGH
    }

    /// The highest bit of each byte below a blank. Subtracting a blank from such a byte plus 128 clears this bit.
    const fn controls(bytes: u64) -> u64 {
        !((bytes | HIGH) - each(b' ')) & !bytes & HIGH
    }

    /// The highest bits of eight bytes as one byte, the first byte's bit lowest: the factor moves each bit to the top byte.
    const fn gather(highest: u64) -> u64 {
        (highest >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

/// Thirty-two bytes at a time.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vectors are loaded through pointers, and not every CPU has these instructions")]
pub(super) mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8,
    };

    use super::{Contents, Quotes, SimdTask};

    /// Proof that this CPU has the instructions: only [`Present::here`] creates a value.
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
        // SAFETY: `Present` proves that the CPU has these instructions.
        unsafe { run_here(task) }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn run_here<T: SimdTask>(task: T) -> T::Output {
        task.run(|quotes, payload| find(quotes, payload))
    }

    /// The accumulated state, for each of 32 positions.
    #[derive(Clone, Copy)]
    struct Seen {
        /// The lowest byte.
        lowest: __m256i,
        /// All ones if there was a backslash.
        backslashes: __m256i,
        /// The bitwise or of all bytes.
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
        // SAFETY: the slice has 32 bytes, and the load requires no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text, and the position of each quote.
    type Found<'a> = Option<(&'a str, Vec<usize>)>;

    struct FindAll<'a>(&'a [u8]);

    impl<'a> SimdTask for FindAll<'a> {
        type Output = Found<'a>;

        fn run(self, find: impl FindQuotes) -> Found<'a> {
            // The state that a longer record leaves.
            let mut quotes = Quotes { map: [u64::MAX; WORDS + 1], words: WORDS };
            let text = find(&mut quotes, self.0)?;
            let next = |from| Some(quotes.next(from)).filter(|at| *at < text.len());
            Some((text, std::iter::successors(next(0), |at| next(at + 1)).collect()))
        }
    }

    /// The expected result, from a simple implementation.
    fn slowly(payload: &[u8]) -> Found<'_> {
        let odd = payload.iter().any(|byte| matches!(byte, b'\\' | 0..0x20));
        let text = str::from_utf8(payload).ok().filter(|_| !odd && (64..=LONGEST).contains(&payload.len()))?;
        Some((text, text.match_indices('"').map(|(at, _)| at).collect()))
    }

    #[test]
    fn every_backend_finds_quotes_and_special_bytes() {
        let mut payloads = vec![vec![b' '; 63], vec![b'"'; 97], vec![b'x'; LONGEST], vec![b'x'; LONGEST + 1]];
        // Every byte at every position of a block, alone and among quotes, and in a character of two bytes.
        // Miri checks every access and is slow.
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
