//! Executes the steps of a plan on the body of a record.

use super::plan::{MapKeys, Plan, Program, ProgramId, Step};
use super::schema::MAX_DEPTH;
use crate::decode::Reason;
use crate::decode::binary::{Slot, Slots};
use crate::decode::mapped::plan::Plan as Wanted;
use crate::decode::number::HIGH;

/// Maximum number of items without bytes in all arrays of a record: a record of ten bytes can announce 2^62 of them.
const MAX_EMPTY_ITEMS: u64 = 65_536;

impl Plan {
    /// Puts the wanted values of a record into empty slots.
    #[inline(always)]
    pub(in crate::decode) fn read(&self, body: &[u8], wanted: &Wanted, slots: &mut Slots) -> Result<(), Reason> {
        let mut reader = Reader { plan: self, wanted, rest: body, empty_items: 0 };
        match reader.run(self.root, slots, 0) {
            Some(()) if reader.rest.is_empty() => Ok(()),
            _ => Err(Reason::MalformedAvro),
        }
    }
}

/// All functions return `None` for a malformed record.
struct Reader<'a> {
    plan: &'a Plan,
    wanted: &'a Wanted,
    rest: &'a [u8],
    empty_items: u64,
}

impl<'a> Reader<'a> {
    /// Reads a value within `depth` containers.
    fn run(&mut self, program: ProgramId, slots: &mut Slots, depth: u32) -> Option<()> {
        let Program { steps, height } = &self.plan.programs[program as usize];
        if depth + height > MAX_DEPTH {
            return None;
        }
        for step in steps {
            match *step {
                Step::Skip(bytes) => drop(self.bytes(bytes as usize)?),
                Step::SkipVarint => drop(self.varint()?),
                Step::SkipPrefixed => drop(self.prefixed()?),
                Step::SkipBlocks { item, is_empty, depth: inner } => {
                    self.skip_blocks(item, is_empty, slots, depth + inner)?;
                }
                Step::Union { branches, depth: inner } => {
                    let branch = usize::try_from(self.varint()?).ok()?;
                    let program = *self.plan.unions[branches as usize].get(branch)?;
                    self.run(program, slots, depth + inner)?;
                }
                Step::Call { program, depth: inner } => self.run(program, slots, depth + inner)?,
                Step::Peek { program, depth: inner } => {
                    let before = (self.rest, self.empty_items);
                    self.run(program, slots, depth + inner)?;
                    (self.rest, self.empty_items) = before;
                }
                Step::Set(node, slot) => slots.set(node, slot),
                Step::Boolean(node) => match self.array()? {
                    [0] => slots.set(node, Slot::Bool(false)),
                    [1] => slots.set(node, Slot::Bool(true)),
                    _ => return None,
                },
                Step::Int(node) => slots.set(node, Slot::Whole(self.int()?)),
                Step::Long(node) => slots.set(node, Slot::Whole(self.varint()?)),
                Step::Float(node) => slots.set(node, Slot::Single(f32::from_le_bytes(self.array()?))),
                Step::Double(node) => slots.set(node, Slot::Double(f64::from_le_bytes(self.array()?))),
                Step::Text(node) => slots.set_text(node, std::str::from_utf8(self.prefixed()?).ok()?),
                // The field can have been a string in another version of the schema.
                Step::Bytes(node) => match std::str::from_utf8(self.prefixed()?) {
                    Ok(text) => slots.set_text(node, text),
                    Err(_) => slots.set(node, Slot::Other),
                },
                Step::Decimal { node, scale } => slots.set_decimal(node, self.prefixed()?, scale),
                Step::FixedDecimal { node, size, scale } => slots.set_decimal(node, self.bytes(size as usize)?, scale),
                Step::Instant { node, decimals } => {
                    slots.set(node, Slot::Instant { units: self.varint()?, decimals });
                }
                Step::Date(node) => slots.set(node, Slot::LocalTime(self.int()?)),
                Step::LocalTimestamp(node) => slots.set(node, Slot::LocalTime(self.varint()?)),
                Step::Enum { node, symbols } => {
                    let symbol = usize::try_from(self.int()?).ok()?;
                    slots.set_text(node, self.plan.enums[symbols as usize].get(symbol)?);
                }
                Step::Elements { item, is_empty, depth: inner } => {
                    self.elements(item, is_empty, slots, depth + inner)?;
                }
                Step::Map { keys, depth: inner } => self.map(keys, slots, depth + inner)?,
            }
        }
        Some(())
    }

    /// A zigzag varint of at most 64 bits.
    #[inline(always)]
    fn varint(&mut self) -> Option<i64> {
        let (first, rest) = self.rest.split_first()?;
        let bits = if *first < 0x80 {
            self.rest = rest;
            u64::from(*first)
        } else {
            self.long_varint()?
        };
        Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    /// As [`Self::varint`], before the zigzag, for more than one byte: at most eight of them without a loop.
    #[inline(never)]
    fn long_varint(&mut self) -> Option<u64> {
        if let Some(eight) = self.rest.first_chunk() {
            let word = u64::from_le_bytes(*eight);
            let ends = !word & HIGH;
            if ends != 0 {
                let bits = ends.trailing_zeros() + 1;
                let (_, rest) = self.rest.split_at_checked(bits as usize / 8)?;
                self.rest = rest;
                // Groups of 7 bits become groups of 14, 28 and 56.
                let sevens = word & (u64::MAX >> (64 - bits)) & !HIGH;
                let pairs = (sevens & 0x007f_007f_007f_007f) | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
                let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
                return Some((fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4);
            }
        }
        let mut bits = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            bits |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                // The tenth byte has the 64th bit.
                self.rest = &self.rest[at + 1..];
                return (at < 9 || *byte < 2).then_some(bits);
            }
        }
        None
    }

    /// An int, which has 32 bits.
    #[inline(always)]
    fn int(&mut self) -> Option<i64> {
        self.varint().filter(|value| i32::try_from(*value).is_ok())
    }

    #[inline(always)]
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    /// Bytes behind their length.
    #[inline(always)]
    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.bytes(length)
    }

    /// The number of items of the next block of an array or map, and its size, if it has one. Zero is the end.
    fn block(&mut self, is_empty: bool) -> Option<(u64, Option<i64>)> {
        let count = self.varint()?;
        let size = if count < 0 { Some(self.varint()?) } else { None };
        let count = count.unsigned_abs();
        if is_empty && size.is_none() {
            self.count_empty(count)?;
        }
        Some((count, size))
    }

    fn count_empty(&mut self, count: u64) -> Option<()> {
        self.empty_items = self.empty_items.saturating_add(count);
        (self.empty_items <= MAX_EMPTY_ITEMS).then_some(())
    }

    fn skip_blocks(&mut self, item: ProgramId, is_empty: bool, slots: &mut Slots, depth: u32) -> Option<()> {
        loop {
            match self.block(is_empty)? {
                (0, _) => return Some(()),
                (_, Some(size)) => drop(self.bytes(usize::try_from(size).ok()?)?),
                // One of them shows how deep they are.
                (_, None) if is_empty => self.run(item, slots, depth)?,
                (count, None) => (0..count).try_for_each(|_| self.run(item, slots, depth))?,
            }
        }
    }

    fn elements(&mut self, item: ProgramId, is_empty: bool, slots: &mut Slots, depth: u32) -> Option<()> {
        slots.start_elements();
        loop {
            let (count, size) = self.block(is_empty)?;
            if count == 0 {
                slots.clear_element(self.wanted);
                return Some(());
            }
            if is_empty && size.is_some() {
                self.count_empty(count)?;
            }
            for _ in 0..count {
                slots.clear_element(self.wanted);
                self.run(item, slots, depth)?;
                slots.end_element(self.wanted);
            }
        }
    }

    fn map(&mut self, keys: u32, slots: &mut Slots, depth: u32) -> Option<()> {
        let MapKeys { wanted, other } = &self.plan.maps[keys as usize];
        loop {
            let (count, _) = self.block(false)?;
            if count == 0 {
                return Some(());
            }
            for _ in 0..count {
                let key = self.prefixed()?;
                match wanted.iter().find(|(name, ..)| name.as_bytes() == key) {
                    Some((_, node, program)) => {
                        // The last one of equal keys counts.
                        slots.clear_tree(self.wanted, *node);
                        self.run(*program, slots, depth)?;
                    }
                    None => self.run(*other, slots, depth)?,
                }
            }
        }
    }
}
