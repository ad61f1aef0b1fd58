//! Writes the examples as files that the fuzzers start from: `corpus/NAME/seed-N`.

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let names = landfall_zql_fuzz::laws::LAWS.iter().map(|(name, _)| *name);
    for name in names.chain(["pipeline"]) {
        let folder = corpus.join(name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in landfall_zql_fuzz::seeds::of(name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
