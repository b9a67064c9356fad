//! Executes the steps of a plan on the body of a record.

use super::plan::{MapKeys, Plan, Program, ProgramId, Step};
use super::schema::MAX_DEPTH;
use crate::decode::Reason;
use crate::decode::binary::{Cursor, Place, Slot, Slots};
use crate::decode::mapped::plan::Plan as Wanted;

/// Maximum number of items without bytes in all arrays of a record: a record of ten bytes can announce 2^62 of them.
const MAX_EMPTY_ITEMS: u64 = 65_536;

impl Plan {
    /// Puts the wanted values of a record into empty slots.
    #[inline(always)]
    pub(in crate::decode) fn read(&self, body: &[u8], wanted: &Wanted, slots: &mut Slots) -> Result<(), Reason> {
        let mut reader = Reader { plan: self, wanted, record: body, empty_items: 0 };
        match reader.execute(self.root, Cursor::new(body), slots, 0) {
            Some(end) if end == body.len() => Ok(()),
            _ => Err(Reason::MalformedAvro),
        }
    }
}

/// All functions return `None` for a malformed record. Those that read a value return the position behind it.
struct Reader<'a> {
    plan: &'a Plan,
    wanted: &'a Wanted,
    record: &'a [u8],
    empty_items: u64,
}

impl<'a> Reader<'a> {
    /// Reads a value within `depth` containers.
    #[inline(never)]
    fn run(&mut self, program: ProgramId, at: usize, slots: &mut Slots, depth: u32) -> Option<usize> {
        self.execute(program, Cursor::new(self.record).from(at), slots, depth)
    }

    /// As [`Self::run`], compiled into its caller.
    #[inline(always)]
    fn execute(&mut self, program: ProgramId, mut cursor: Cursor<'a>, slots: &mut Slots, depth: u32) -> Option<usize> {
        let Program { steps, height } = &self.plan.programs[program as usize];
        if depth + height > MAX_DEPTH {
            return None;
        }
        let mut steps = steps.iter();
        while let Some(step) = steps.next() {
            match *step {
                Step::Skip(bytes) => cursor.skip(bytes as usize)?,
                Step::SkipVarint => drop(cursor.varint()?),
                Step::SkipPrefixed => drop(prefixed(&mut cursor)?),
                Step::SkipBlocks { item, is_empty, depth: inner } => {
                    cursor = cursor.from(self.skip_blocks(item, is_empty, cursor, slots, depth + inner)?);
                }
                Step::Optional { null, steps: count } => match cursor.zigzag()? {
                    branch if branch == i64::from(null) => steps = steps.as_slice().get(count as usize..)?.iter(),
                    0 | 1 => {}
                    _ => return None,
                },
                Step::Union { branches, depth: inner } => {
                    let branch = usize::try_from(cursor.zigzag()?).ok()?;
                    let program = *self.plan.unions[branches as usize].get(branch)?;
                    cursor = cursor.from(self.run(program, cursor.position(), slots, depth + inner)?);
                }
                Step::Call { program, depth: inner } => {
                    cursor = cursor.from(self.run(program, cursor.position(), slots, depth + inner)?);
                }
                Step::Peek { program, depth: inner } => {
                    let before = self.empty_items;
                    self.run(program, cursor.position(), slots, depth + inner)?;
                    self.empty_items = before;
                }
                Step::Set(node, slot) => slots.set(node, slot),
                Step::Boolean(node) => match cursor.array()? {
                    [0] => slots.set(node, Slot::Bool(false)),
                    [1] => slots.set(node, Slot::Bool(true)),
                    _ => return None,
                },
                Step::Int(node) => slots.set(node, Slot::Whole(int(&mut cursor)?)),
                Step::Long(node) => slots.set(node, Slot::Whole(cursor.zigzag()?)),
                Step::Float(node) => slots.set(node, Slot::Single(f32::from_le_bytes(cursor.array()?))),
                Step::Double(node) => slots.set(node, Slot::Double(f64::from_le_bytes(cursor.array()?))),
                Step::Text(node) => {
                    let text = prefixed(&mut cursor)?;
                    if !slots.set_text(node, self.record, text) {
                        return None;
                    }
                }
                // The field can have been a string in another version of the schema.
                Step::Bytes(node) => {
                    let text = prefixed(&mut cursor)?;
                    if !slots.set_text(node, self.record, text) {
                        slots.set(node, Slot::Other);
                    }
                }
                Step::Decimal { node, scale } => {
                    let decimal = prefixed(&mut cursor)?;
                    slots.set_decimal(node, decimal.of(self.record), scale);
                }
                Step::FixedDecimal { node, size, scale } => {
                    let decimal = cursor.take(size as usize)?;
                    slots.set_decimal(node, decimal.of(self.record), scale);
                }
                Step::Instant { node, decimals } => {
                    slots.set(node, Slot::Instant { units: cursor.zigzag()?, decimals });
                }
                Step::Date(node) => slots.set(node, Slot::LocalTime(int(&mut cursor)?)),
                Step::LocalTimestamp(node) => slots.set(node, Slot::LocalTime(cursor.zigzag()?)),
                Step::Enum { node, symbols } => {
                    let symbol = usize::try_from(int(&mut cursor)?).ok()?;
                    slots.make_text(node, self.plan.enums[symbols as usize].get(symbol)?);
                }
                Step::Elements { item, is_empty, depth: inner } => {
                    cursor = cursor.from(self.elements(item, is_empty, cursor, slots, depth + inner)?);
                }
                Step::Map { keys, depth: inner } => {
                    cursor = cursor.from(self.map(keys, cursor, slots, depth + inner)?);
                }
            }
        }
        Some(cursor.position())
    }

    /// The number of items of the next block of an array or map, and its size, if it has one. Zero is the end.
    fn block(&mut self, cursor: &mut Cursor<'a>, is_empty: bool) -> Option<(u64, Option<i64>)> {
        let count = cursor.zigzag()?;
        let size = if count < 0 { Some(cursor.zigzag()?) } else { None };
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

    fn skip_blocks(
        &mut self,
        item: ProgramId,
        is_empty: bool,
        mut cursor: Cursor<'a>,
        slots: &mut Slots,
        depth: u32,
    ) -> Option<usize> {
        loop {
            let items = match self.block(&mut cursor, is_empty)? {
                (0, _) => return Some(cursor.position()),
                (_, Some(size)) => {
                    cursor.skip(usize::try_from(size).ok()?)?;
                    continue;
                }
                // One of them shows how deep they are.
                (_, None) if is_empty => 1,
                (count, None) => count,
            };
            for _ in 0..items {
                cursor = cursor.from(self.run(item, cursor.position(), slots, depth)?);
            }
        }
    }

    fn elements(
        &mut self,
        item: ProgramId,
        is_empty: bool,
        mut cursor: Cursor<'a>,
        slots: &mut Slots,
        depth: u32,
    ) -> Option<usize> {
        slots.start_elements();
        loop {
            let (count, size) = self.block(&mut cursor, is_empty)?;
            if count == 0 {
                slots.clear_element(self.wanted);
                return Some(cursor.position());
            }
            if is_empty && size.is_some() {
                self.count_empty(count)?;
            }
            for _ in 0..count {
                slots.clear_element(self.wanted);
                cursor = cursor.from(self.run(item, cursor.position(), slots, depth)?);
                slots.end_element(self.wanted);
            }
        }
    }

    fn map(&mut self, keys: u32, mut cursor: Cursor<'a>, slots: &mut Slots, depth: u32) -> Option<usize> {
        let MapKeys { wanted, other } = &self.plan.maps[keys as usize];
        loop {
            let (count, _) = self.block(&mut cursor, false)?;
            if count == 0 {
                return Some(cursor.position());
            }
            for _ in 0..count {
                let key = prefixed(&mut cursor)?.of(self.record);
                let program = match wanted.iter().find(|(name, ..)| name.as_bytes() == key) {
                    Some((_, node, program)) => {
                        // The last one of equal keys counts.
                        slots.clear_tree(self.wanted, *node);
                        *program
                    }
                    None => *other,
                };
                cursor = cursor.from(self.run(program, cursor.position(), slots, depth)?);
            }
        }
    }
}

/// An int, which has 32 bits.
#[inline(always)]
fn int(cursor: &mut Cursor<'_>) -> Option<i64> {
    cursor.zigzag().filter(|value| i32::try_from(*value).is_ok())
}

/// The place of bytes behind their length.
#[inline(always)]
fn prefixed(cursor: &mut Cursor<'_>) -> Option<Place> {
    let zigzag = cursor.varint()?;
    // A negative length is odd.
    let length = usize::try_from(zigzag >> 1).ok().filter(|_| zigzag & 1 == 0)?;
    cursor.take(length)
}
