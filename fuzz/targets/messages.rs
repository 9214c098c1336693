//! Messages of the contract, to the handlers. An input is `SERVICE/METHOD`, a line feed, and the encoded message.

#![no_main]

use boxoffice_fuzz::{mutate, request, service};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((method, message)) = mutate::read(input) else { return Corpus::Reject };
    service::with(|service| {
        let mut message = message.to_vec();
        service.names().fill_in(&mut message);
        service.send(request::native(&method.path, &message), true);
    });
    Corpus::Keep
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});
