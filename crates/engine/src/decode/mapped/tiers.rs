//! Which of the fast readers reads a record, and when they learn. This affects the speed, never the result.

use super::graph::Graph;
use super::layout::Layout;
use super::line::Line;
use super::plan::Plan;
use super::slots::Slots;
use crate::decode::PATIENCE;
use crate::decode::quotes::Quotes;

/// After this number of records that the line has missed, it is paused if it has read fewer: a record that does not fit costs time.
const TRIAL: u32 = 64;

/// The number of records of a pause.
const PAUSE: u32 = 4096;

/// Of this number of records that the slow reader has read, the graph learns from one.
const LEARNS_ONE_OF: u32 = 8;

/// The number of records that each reader has read by a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Readers {
    /// Records with the layout of an earlier one.
    pub line: u64,
    /// Records whose parts occurred in earlier ones.
    pub graph: u64,
    /// All other records that are well-formed.
    pub slow: u64,
}

/// The fast readers.
#[derive(Debug)]
pub(super) struct Tiers {
    pub(super) readers: Readers,
    line: Option<Line>,
    /// Number of further records that may not fit before another line is learnt.
    patience: u32,
    /// Number of records that the line has missed since the last decision about a pause, and of all that it had read until then.
    missed: u32,
    line_before: u64,
    /// Number of records until the line is tried again.
    pause: u32,
    graph: Option<Graph>,
    /// Number of records of the slow reader until the graph learns from one.
    until_learning: u32,
}

impl Tiers {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            readers: Readers::default(),
            line: None,
            patience: 0,
            missed: 0,
            line_before: 0,
            pause: 0,
            graph: Graph::new(plan),
            until_learning: 0,
        }
    }

    /// The line, if it fits; it has the fields of the record.
    #[inline(always)]
    pub(super) fn read_line(&mut self, text: &str, quotes: &Quotes) -> Option<&Line> {
        let line = self.line.as_mut().filter(|_| self.pause == 0)?;
        if !line.read(text, quotes) {
            return None;
        }
        self.patience = PATIENCE;
        self.readers.line += 1;
        Some(line)
    }

    /// The graph and the number of elements, if it knows the parts of the record; it has set the fields of the record.
    #[inline(always)]
    pub(super) fn read_graph(
        &mut self,
        plan: &Plan,
        text: &str,
        quotes: &Quotes,
        slots: &mut Slots,
    ) -> Option<(&Graph, usize)> {
        let elements = self.graph.as_mut()?.read(plan, text, quotes, slots)?;
        self.readers.graph += 1;
        self.missed_by_line(plan, text);
        self.graph.as_ref().map(|graph| (graph, elements))
    }

    /// Decides about the line by a well-formed record that another reader has read: learns another one, or pauses it.
    #[inline(always)]
    fn missed_by_line(&mut self, plan: &Plan, text: &str) {
        if let Some(less) = self.pause.checked_sub(1) {
            self.pause = less;
            return;
        }
        self.missed += 1;
        if self.missed == TRIAL {
            if self.readers.line - self.line_before < TRIAL.into() {
                self.pause = PAUSE;
            }
            (self.missed, self.line_before) = (0, self.readers.line);
        }
        match self.patience.checked_sub(1) {
            Some(less) => self.patience = less,
            None => self.learn_line(plan, text),
        }
    }

    #[cold]
    #[inline(never)]
    fn learn_line(&mut self, plan: &Plan, text: &str) {
        self.patience = PATIENCE;
        if let Some(layout) = Layout::of(plan, text)
            && let Some(line) = Line::new(plan, text, &layout)
        {
            self.line = Some(line);
        }
    }

    /// Learns from a well-formed record that the slow reader has read.
    pub(super) fn learn(&mut self, plan: &Plan, text: &str, is_plain: bool) {
        if !is_plain {
            return;
        }
        self.missed_by_line(plan, text);
        match self.until_learning.checked_sub(1) {
            Some(less) => self.until_learning = less,
            None => {
                self.until_learning = LEARNS_ONE_OF - 1;
                if let Some(graph) = self.graph.as_mut().filter(|graph| graph.learns())
                    && let Some(layout) = Layout::of(plan, text)
                {
                    graph.learn(text, &layout);
                }
            }
        }
    }
}
