//! `landfall-server`: the server without an app in it.

use std::process::ExitCode;

use landfall_server::app::App;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    landfall_server::main(App::default())
}
