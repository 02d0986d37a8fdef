//! `market init`: makes the keys of a home.

use ggen_marketplace::assemble::home::NetworkName;
use ggen_marketplace::assemble::{Init, Layout};
use serde::Serialize;

use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Swarm that the home belongs to [default: main]
    #[arg(long, value_name = "NAME")]
    network: Option<NetworkName>,
}

#[derive(Serialize)]
struct Made {
    home: String,
    network: String,
    owner: String,
    peer: String,
    made: Vec<String>,
}

pub(crate) fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let init = layout.init(args.network.as_ref())?;
    let made = Made {
        home: layout.dir().display().to_string(),
        network: layout.network()?.to_string(),
        owner: init.owner.to_string(),
        peer: init.peer.to_string(),
        made: paths(&init),
    };
    output.result(&made, |made| {
        let did = match made.made.len() {
            0 => "everything was there already, nothing was changed".to_owned(),
            _ => format!("made {}", made.made.join(", ")),
        };
        format!(
            "home     {}\nnetwork  {}\nowner    {}\npeer     {}\n{did}\n\
             next: `market up` runs the node; keep a copy of {}, it alone can publish as you\n",
            made.home,
            made.network,
            made.owner,
            made.peer,
            layout.identity_path().display(),
        )
    })
}

/// Says which keys were made on the way to something else.
pub(crate) fn tell(init: &Init, output: Output) {
    for path in paths(init) {
        output.note(format_args!("made the key {path}"));
    }
}

fn paths(init: &Init) -> Vec<String> {
    let made = init.made.iter();
    made.map(|path| path.display().to_string()).collect()
}
