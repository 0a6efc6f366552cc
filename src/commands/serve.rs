//! `psann serve`: answers over HTTP, as OpenAI's interface does.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use psann_core::{Error, Event, Observer, Result};
use psann_eval::network::store_in_half;
use psann_eval::server::{RenderChat, ServedModel, Server, ServerOptions};
use psann_torch::threads;

use crate::cli::{ServeArgs, WeightsKind};
use crate::display::{self, Failure};
use crate::progress::Progress;
use crate::run::{Trained, chat_templates};
use crate::stop::Stop;

/// The variable that holds a key: other programs of the machine can read command lines, but not environments.
const KEY: &str = "PSANN_API_KEY";

/// Serves the model until the user stops it.
pub fn execute(args: &ServeArgs) -> Result<(), Failure> {
    let observer: Arc<dyn Observer> = Arc::new(Progress::new(Stop::listen()?));
    if let Some(threads) = args.threads {
        threads::set(threads);
    }
    let options = options(args)?;
    options.check()?;
    // The server computes on a thread of its own; what loading starts is to be gone by then.
    let trained = threads::apart(|| {
        let mut trained = Trained::open(&args.run)?;
        if args.weights == WeightsKind::Bf16 {
            store_in_half(&mut trained.loaded.parameters);
        }
        Ok::<_, Error>(trained)
    })?;
    let context = trained.reads_at_most(args.context.map(|context| context as u64)) as usize;
    let chat = chat_templates(&trained.tokenizer, args.chat_template.as_deref())?;
    let model = ServedModel {
        model: Arc::from(trained.loaded.model),
        parameters: trained.loaded.parameters,
        tokenizer: Arc::new(trained.tokenizer),
        chat: chat.map(|templates| Arc::new(templates) as Arc<dyn RenderChat>),
        ends: Vec::new(),
        name: args.model_name.clone().unwrap_or_else(|| name(&args.run)),
        context,
    };
    let note = format!("serving `{}` with a context of {context} tokens; Ctrl-C stops", model.name);
    let server = Server::bind(model, options, Arc::clone(&observer))?;
    display::result(&format!("http://{}", server.address()));
    observer.event(Event::Note(note));
    Ok(server.run()?)
}

fn options(args: &ServeArgs) -> Result<ServerOptions> {
    let key = args.api_key.clone().or_else(|| std::env::var(KEY).ok().filter(|key| !key.is_empty()));
    Ok(ServerOptions {
        address: address(&args.host, args.port)?,
        key,
        open: args.no_key,
        streams: args.streams,
        queue: args.queue,
        max_tokens: args.max_tokens,
        cached_tokens: args.cache_tokens,
        connections: args.connections,
        timeout: Duration::from_secs(args.timeout),
        tokenizer_routes: args.tokenizer_routes,
        ..ServerOptions::default()
    })
}

fn address(host: &str, port: u16) -> Result<SocketAddr> {
    let wrong = || {
        Error::usage(format!("`{host}` is no address of this machine"))
            .hint("give `127.0.0.1` for this machine alone, `0.0.0.0` or `::` for others too, or a name")
    };
    let mut found = (host, port).to_socket_addrs().map_err(|e| wrong().because(e))?;
    found.next().ok_or_else(wrong)
}

/// What clients call a model: its folder.
fn name(run: &Path) -> String {
    let full = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    full.file_name().map_or("psann".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        assert_eq!(address("127.0.0.1", 80).unwrap(), SocketAddr::from(([127, 0, 0, 1], 80)));
        assert!(address("::1", 80).unwrap().is_ipv6());
        assert!(address("localhost", 80).unwrap().ip().is_loopback());
        let error = address("not an address", 80).unwrap_err();
        assert_eq!(error.message(), "`not an address` is no address of this machine");
    }
}
