//! The flags of the page.

use clap::Args;

/// The flags of the page that do not depend on the program.
#[derive(Args, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PageArgs {
    /// Show payloads of dead letters on the web page
    #[arg(long, env = "RETAIL_UI_PAYLOADS")]
    pub ui_payloads: bool,
}
