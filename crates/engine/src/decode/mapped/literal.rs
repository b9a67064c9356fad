//! Texts that are equal in all records of a layout, compared 32 bytes at a time.

/// Number of bytes that are compared at once.
const BLOCK: usize = 32;

/// For [`Literal::quote`]: the literal contains no quote.
const NO_QUOTE: usize = usize::MAX;

/// The text between two values.
#[derive(Debug)]
pub(super) struct Literal {
    /// Number of bytes.
    pub(super) length: usize,
    /// Position of the first quote, or [`NO_QUOTE`].
    quote: usize,
    /// Where the block begins, from the start of the literal; wraps around if the block begins before it.
    shift: usize,
    /// The first bytes, or a short literal with the bytes before it, as zeros.
    block: [u64; BLOCK / 8],
    /// Ones at the bytes of the literal.
    mask: [u64; BLOCK / 8],
    text: Box<str>,
}

/// The accumulated differences of literals, evaluated once.
#[derive(Default)]
pub(super) struct Differences([u64; BLOCK / 8]);

impl Literal {
    /// The literal in `record` that begins at `start`.
    pub(super) fn new(record: &str, start: usize, end: usize) -> Self {
        let text = &record[start..end];
        // The block of a literal close to the end of a record would end behind it.
        let is_at_end = start + BLOCK > record.len();
        let zeros = if is_at_end { BLOCK.saturating_sub(text.len()) } else { 0 };
        let byte = |i: usize| i.checked_sub(zeros).and_then(|i| text.as_bytes().get(i)).copied();
        let words = |byte: &dyn Fn(usize) -> u8| {
            std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|i| byte(word * 8 + i))))
        };
        Self {
            length: text.len(),
            quote: text.find('"').unwrap_or(NO_QUOTE),
            shift: 0_usize.wrapping_sub(zeros),
            block: words(&|i| byte(i).unwrap_or(0)),
            mask: words(&|i| byte(i).map_or(0, |_| 0xff)),
            text: text.into(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where the literal begins that follows a value at `from`, if the next quote is at `quote`. Only a value without quotes can
    /// be followed by a literal without one.
    #[inline(always)]
    pub(super) fn start(&self, record: &[u8], from: usize, quote: usize) -> usize {
        if self.quote == NO_QUOTE { end_of_bare(record, from) } else { quote.wrapping_sub(self.quote) }
    }

    /// Whether there are more bytes than the block contains, which [`Self::compare`] does not compare.
    pub(super) fn is_long(&self) -> bool {
        self.length > BLOCK
    }

    /// Compares the block with the record, and adds to `differences`. Returns false if it cannot match.
    #[inline(always)]
    pub(super) fn compare(&self, record: &[u8], start: usize, differences: &mut Differences) -> bool {
        match record.get(start.wrapping_add(self.shift)..).and_then(<[u8]>::first_chunk) {
            Some(here) => differences.note(here, self),
            None => return self.is_at(record, start),
        }
        true
    }

    /// Compares all bytes: where the block would begin before the record or end behind it, and for long literals.
    #[cold]
    #[inline(never)]
    pub(super) fn is_at(&self, record: &[u8], start: usize) -> bool {
        record.get(start..).is_some_and(|here| here.starts_with(self.text.as_bytes()))
    }

    /// Whether the literal begins at `start`.
    #[inline(always)]
    pub(super) fn matches(&self, record: &[u8], start: usize) -> bool {
        let mut differences = Differences::default();
        self.compare(record, start, &mut differences)
            && differences.none()
            && (!self.is_long() || self.is_at(record, start))
    }
}

impl Differences {
    #[inline(always)]
    fn note(&mut self, here: &[u8; BLOCK], literal: &Literal) {
        for (i, word) in here.as_chunks().0.iter().enumerate() {
            self.0[i] |= (u64::from_le_bytes(*word) ^ literal.block[i]) & literal.mask[i];
        }
    }

    #[inline(always)]
    pub(super) fn none(&self) -> bool {
        self.0 == [0; BLOCK / 8]
    }
}

/// Where a value without quotes ends.
#[inline]
fn end_of_bare(record: &[u8], from: usize) -> usize {
    let rest = record.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b' ')).unwrap_or(rest.len())
}
