//! Requests of any kind, through all layers to the services. See [`request::read`] for the form of an input.

#![no_main]

use boxoffice_fuzz::{request, service};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus {
    service::with(|service| match request::read(input, service.names()) {
        Some(call) => {
            service.send(call, false);
            Corpus::Keep
        }
        None => Corpus::Reject,
    })
});
