//! The colours of the screen; none with NO_COLOR.

use ratatui::style::{Color, Modifier, Style};

/// The styles of the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Colours {
    is_coloured: bool,
}

impl Colours {
    /// With colours, unless NO_COLOR is set and not empty: <https://no-color.org>.
    pub(super) fn of_environment() -> Self {
        Self { is_coloured: retail_runtime::process::allows_colours() }
    }

    #[cfg(test)]
    pub(super) const fn with(is_coloured: bool) -> Self {
        Self { is_coloured }
    }

    fn colour(self, colour: Color) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new() }
    }

    /// Names and frames.
    pub(super) fn faint(self) -> Style {
        self.colour(Color::DarkGray)
    }

    /// A title.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Something that is final, or ready.
    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// Something that is next, or that others wait for.
    pub(super) fn next(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// Something that is open, or moves.
    pub(super) fn open(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// A problem.
    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }
}
