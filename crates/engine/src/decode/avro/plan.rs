//! Compiles the schema of a writer and the wanted fields to steps.
//!
//! A program reads one value. Records that are always there are part of the program around them, except for large ones and those
//! that contain themselves; unions, arrays and maps run other programs.

#![allow(clippy::wildcard_enum_match_arm, reason = "most types are scalars")]

use std::collections::BTreeMap;

use super::schema::{Record, Schema, Type, TypeId};
use crate::decode::binary::Slot;
use crate::decode::mapped::plan::{ELEMENT, NodeId, Plan as Wanted, RECORD};
use crate::schema::SchemaText;

pub(super) type ProgramId = u32;

/// A record with more values is not repeated in each program that reads it.
const MAX_INLINED_WEIGHT: u32 = 32;

/// Within more records, no record is repeated: the compiler has a stack.
const MAX_INLINED_DEPTH: usize = 16;

/// With more steps, no record is repeated.
const MAX_INLINED_STEPS: usize = 100_000;

/// How records with one schema are read by one mapping.
#[derive(Debug)]
pub(in crate::decode) struct Plan {
    pub(super) programs: Vec<Program>,
    pub(super) root: ProgramId,
    pub(super) unions: Vec<Box<[ProgramId]>>,
    pub(super) enums: Vec<Box<[Box<str>]>>,
    pub(super) maps: Vec<MapKeys>,
}

/// Reads one value.
#[derive(Default, Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    /// The nesting of all containers that the program always enters.
    pub(super) height: u32,
}

/// The wanted keys of a map.
#[derive(Debug)]
pub(super) struct MapKeys {
    pub(super) wanted: Vec<(Box<str>, NodeId, ProgramId)>,
    /// Skips all other values.
    pub(super) other: ProgramId,
}

/// The containers of a program that are around a step.
type Depth = u32;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// This number of bytes.
    Skip(u32),
    SkipVarint,
    /// Bytes behind their length.
    SkipPrefixed,
    /// An array or map, by the program of an item.
    SkipBlocks {
        item: ProgramId,
        is_empty: bool,
        depth: Depth,
    },
    /// A scalar or null. The steps for the scalar follow; if the branch is `null`, they are passed over.
    Optional {
        null: u8,
        steps: u32,
    },
    Union {
        branches: u32,
        depth: Depth,
    },
    /// A record.
    Call {
        program: ProgramId,
        depth: Depth,
    },
    /// Reads a value, which another step reads again.
    Peek {
        program: ProgramId,
        depth: Depth,
    },
    Set(NodeId, Slot),
    Boolean(NodeId),
    Int(NodeId),
    Long(NodeId),
    Float(NodeId),
    Double(NodeId),
    Text(NodeId),
    Bytes(NodeId),
    Decimal {
        node: NodeId,
        scale: u32,
    },
    FixedDecimal {
        node: NodeId,
        size: u32,
        scale: u32,
    },
    Instant {
        node: NodeId,
        decimals: u8,
    },
    Date(NodeId),
    LocalTimestamp(NodeId),
    Enum {
        node: NodeId,
        symbols: u32,
    },
    /// The exploded array.
    Elements {
        item: ProgramId,
        is_empty: bool,
        depth: Depth,
    },
    Map {
        keys: u32,
        depth: Depth,
    },
}

impl Plan {
    /// `None` if the schema cannot be used.
    pub(in crate::decode) fn new(schema: &SchemaText, wanted: &Wanted) -> Option<Self> {
        let schema = Schema::parse(schema)?;
        let plan = Self { programs: Vec::new(), root: 0, unions: Vec::new(), enums: Vec::new(), maps: Vec::new() };
        let mut compiler = Compiler {
            schema: &schema,
            wanted,
            plan,
            records: BTreeMap::new(),
            waiting: Vec::new(),
            open: Vec::new(),
            steps: 0,
        };
        let root = compiler.program(schema.root, Some(RECORD));
        while let Some((id, record, node, program)) = compiler.waiting.pop() {
            compiler.fill(program, |compiler, body| compiler.record(body, id, record, node, 0));
        }
        Some(Self { root, ..compiler.plan })
    }

    /// Approximate memory in bytes.
    pub(in crate::decode) fn bytes(&self) -> usize {
        let Self { programs, root: _, unions, enums, maps } = self;
        let steps = programs.iter().map(|program| program.steps.len() * size_of::<Step>() + size_of::<Program>());
        let branches = unions.iter().map(|branches| branches.len() * size_of::<ProgramId>() + 16);
        let symbols = enums.iter().flatten().map(|symbol| symbol.len() + 16);
        let keys = maps.iter().flat_map(|map| &map.wanted).map(|(key, ..)| key.len() + 32);
        steps.chain(branches).chain(symbols).chain(keys).sum()
    }
}

/// The steps of a program, while it is compiled.
#[derive(Default)]
struct Body {
    program: Program,
    /// The steps before this one have their final form.
    is_final: usize,
}

impl Body {
    fn push(&mut self, step: Step) {
        let Program { steps, .. } = &mut self.program;
        if let (Step::Skip(more), Some(Step::Skip(bytes))) = (step, steps[self.is_final..].last_mut())
            && let Some(sum) = bytes.checked_add(more)
        {
            *bytes = sum;
            return;
        }
        if !matches!(step, Step::Skip(0)) {
            steps.push(step);
        }
    }

    /// The steps up to now have their final form. Returns their number.
    fn end_part(&mut self) -> usize {
        self.is_final = self.program.steps.len();
        self.is_final
    }

    /// The program enters a container within `depth` others.
    fn enter(&mut self, depth: Depth) -> Depth {
        self.program.height = self.program.height.max(depth + 1);
        depth + 1
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    wanted: &'a Wanted,
    plan: Plan,
    /// The programs of records that are called.
    records: BTreeMap<(TypeId, Option<NodeId>), ProgramId>,
    /// Those that must be compiled yet.
    waiting: Vec<(TypeId, &'a Record, Option<NodeId>, ProgramId)>,
    /// The records around the value that is compiled.
    open: Vec<TypeId>,
    /// Of all programs, each with one more.
    steps: usize,
}

impl<'a> Compiler<'a> {
    /// The program for a value of this type, at this wanted node.
    fn program(&mut self, id: TypeId, node: Option<NodeId>) -> ProgramId {
        let program = self.reserve();
        self.fill(program, |compiler, body| compiler.value(body, id, node, 0));
        program
    }

    fn reserve(&mut self) -> ProgramId {
        self.plan.programs.push(Program::default());
        self.plan.programs.len() as ProgramId - 1
    }

    fn fill(&mut self, program: ProgramId, compile: impl FnOnce(&mut Self, &mut Body)) {
        let mut body = Body::default();
        compile(self, &mut body);
        self.steps += body.program.steps.len() + 1;
        self.plan.programs[program as usize] = body.program;
    }

    /// Appends the steps for a value within `depth` containers of the program.
    fn value(&mut self, body: &mut Body, id: TypeId, node: Option<NodeId>, depth: Depth) {
        let schema = self.schema;
        match &schema.types[id] {
            Type::Array(item) => self.array(body, *item, node, depth),
            Type::Map(value) => self.map(body, *value, node, depth),
            Type::Union(branches) if self.optional(body, branches, node) => {}
            Type::Union(branches) => {
                let branches = branches.iter().map(|branch| self.program(*branch, node)).collect();
                self.plan.unions.push(branches);
                body.push(Step::Union { branches: self.plan.unions.len() as u32 - 1, depth });
            }
            Type::Record(record) => {
                let is_small = record.weight <= MAX_INLINED_WEIGHT
                    && self.open.len() < MAX_INLINED_DEPTH
                    && self.steps + body.program.steps.len() < MAX_INLINED_STEPS;
                if is_small && !self.open.contains(&id) {
                    return self.record(body, id, record, node, depth);
                }
                let program = match self.records.get(&(id, node)) {
                    Some(program) => *program,
                    None => {
                        let program = self.reserve();
                        self.records.insert((id, node), program);
                        self.waiting.push((id, record, node, program));
                        program
                    }
                };
                body.push(Step::Call { program, depth });
            }
            scalar => self.scalar(body, scalar, node),
        }
    }

    /// Appends the steps for a union of a scalar and null. Returns false for any other union.
    fn optional(&mut self, body: &mut Body, branches: &[TypeId], node: Option<NodeId>) -> bool {
        let &[first, second] = branches else { return false };
        let schema = self.schema;
        let (null, scalar) = match [first, second].map(|branch| &schema.types[branch]) {
            [Type::Null, scalar] => (0, scalar),
            [scalar, Type::Null] => (1, scalar),
            _ => return false,
        };
        if matches!(scalar, Type::Array(_) | Type::Map(_) | Type::Union(_) | Type::Record(_)) {
            return false;
        }
        if let Some(node) = node {
            body.push(Step::Set(node, Slot::Null));
        }
        let at = body.end_part();
        body.push(Step::Optional { null, steps: 0 });
        body.end_part();
        self.scalar(body, scalar, node);
        let count = body.end_part() - at - 1;
        body.program.steps[at] = Step::Optional { null, steps: count as u32 };
        true
    }

    fn scalar(&mut self, body: &mut Body, of_type: &Type, node: Option<NodeId>) {
        let Some(node) = node else {
            return body.push(match of_type {
                Type::Boolean => Step::Skip(1),
                Type::Float => Step::Skip(4),
                Type::Double => Step::Skip(8),
                Type::Fixed(size) | Type::Decimal { size: Some(size), .. } => Step::Skip(*size),
                Type::Bytes | Type::String | Type::Decimal { size: None, .. } => Step::SkipPrefixed,
                Type::Int | Type::Long | Type::Instant { .. } | Type::Date | Type::LocalTimestamp | Type::Enum(_) => {
                    Step::SkipVarint
                }
                Type::Null | Type::Array(_) | Type::Map(_) | Type::Union(_) | Type::Record(_) => Step::Skip(0),
            });
        };
        let step = match of_type {
            Type::Null => Step::Set(node, Slot::Null),
            Type::Boolean => Step::Boolean(node),
            Type::Int => Step::Int(node),
            Type::Long => Step::Long(node),
            Type::Float => Step::Float(node),
            Type::Double => Step::Double(node),
            Type::Bytes => Step::Bytes(node),
            Type::String => Step::Text(node),
            Type::Decimal { size: None, scale } => Step::Decimal { node, scale: *scale },
            Type::Decimal { size: Some(size), scale } => Step::FixedDecimal { node, size: *size, scale: *scale },
            Type::Instant { decimals } => Step::Instant { node, decimals: *decimals },
            Type::Date => Step::Date(node),
            Type::LocalTimestamp => Step::LocalTimestamp(node),
            Type::Enum(symbols) => {
                self.plan.enums.push(symbols.iter().cloned().collect());
                Step::Enum { node, symbols: self.plan.enums.len() as u32 - 1 }
            }
            Type::Fixed(size) => {
                body.push(Step::Skip(*size));
                Step::Set(node, Slot::Other)
            }
            Type::Array(_) | Type::Map(_) | Type::Union(_) | Type::Record(_) => Step::Skip(0),
        };
        body.push(step);
    }

    fn record(&mut self, body: &mut Body, id: TypeId, record: &'a Record, node: Option<NodeId>, depth: Depth) {
        self.open.push(id);
        self.fields(body, record, node, depth);
        self.open.pop();
    }

    fn fields(&mut self, body: &mut Body, record: &'a Record, node: Option<NodeId>, depth: Depth) {
        let depth = body.enter(depth);
        let Some(node) = node else {
            return record.fields.iter().for_each(|field| self.value(body, field.of_type, None, depth));
        };
        // No field of the mapping is the record itself.
        if node != RECORD {
            body.push(Step::Set(node, Slot::Object));
        }
        let wanted = self.wanted;
        let mut nodes = vec![Vec::new(); record.fields.len()];
        for (name, child) in &wanted.nodes[node].children {
            if let Some(position) = record.position(name) {
                nodes[position].push(*child);
            }
        }
        for (field, nodes) in record.fields.iter().zip(nodes) {
            let (last, others) = match nodes.split_last() {
                Some((last, others)) => (Some(*last), others),
                None => (None, &[][..]),
            };
            // The field has several names in the mapping: its own one and its aliases.
            for other in others {
                let program = self.program(field.of_type, Some(*other));
                body.push(Step::Peek { program, depth });
            }
            self.value(body, field.of_type, last, depth);
        }
    }

    fn array(&mut self, body: &mut Body, item: TypeId, node: Option<NodeId>, depth: Depth) {
        let depth = body.enter(depth);
        let is_empty = self.is_empty(item);
        if let Some(node) = node {
            body.push(Step::Set(node, Slot::Array));
            if self.wanted.explode == Some(node) {
                let item = self.program(item, Some(ELEMENT));
                return body.push(Step::Elements { item, is_empty, depth });
            }
        }
        let item = self.program(item, None);
        body.push(Step::SkipBlocks { item, is_empty, depth });
    }

    fn map(&mut self, body: &mut Body, value: TypeId, node: Option<NodeId>, depth: Depth) {
        let depth = body.enter(depth);
        let children = match node {
            Some(node) => {
                body.push(Step::Set(node, Slot::Object));
                &*self.wanted.nodes[node].children
            }
            None => &[],
        };
        if children.is_empty() {
            let item = self.reserve();
            self.fill(item, |compiler, body| {
                body.push(Step::SkipPrefixed);
                compiler.value(body, value, None, 0);
            });
            return body.push(Step::SkipBlocks { item, is_empty: false, depth });
        }
        let wanted = children.iter().map(|(key, child)| (key.clone(), *child, self.program(value, Some(*child))));
        let wanted = wanted.collect();
        let other = self.program(value, None);
        self.plan.maps.push(MapKeys { wanted, other });
        body.push(Step::Map { keys: self.plan.maps.len() as u32 - 1, depth });
    }

    /// Whether no value of the type has bytes.
    fn is_empty(&self, id: TypeId) -> bool {
        match &self.schema.types[id] {
            Type::Null | Type::Fixed(0) | Type::Decimal { size: Some(0), .. } => true,
            Type::Record(record) => record.fields.iter().all(|field| self.is_empty(field.of_type)),
            _ => false,
        }
    }
}
