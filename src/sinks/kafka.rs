//! A topic of Kafka as a sink.
//!
//! The key of a record is its aggregate, from which the partition follows as with Java's client. A partition takes a batch whole
//! or not at all, and has one batch in flight, so the events of an aggregate arrive in their order. The client does not number its
//! batches, so one that was given up may arrive twice. It also sends a batch again that the broker has stored and slowed down because of a
//! quota.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rskafka::{
    BackoffConfig,
    client::{
        Client, ClientBuilder, Credentials, SaslConfig,
        error::{Error, ProtocolError},
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::Record,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::{Instant, timeout};

use super::{
    address::{Address, Sasl},
    each::{CONFIRMATION, Outcome},
    message::{CONTENT_TYPE, Message},
    trouble::{Failure, Trouble},
};

const KIND: &str = "Kafka";
/// The deadline for opening a connection and finding the topic.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long further batches are sent.
const SENDING: Duration = Duration::from_secs(3);
/// The most bytes of a batch of several records, approximately. It is below what servers take at most, if nothing else is set there.
const BATCH_BYTES: usize = 500_000;

pub(super) struct Connection {
    client: Client,
    topic: String,
    partitions: Vec<i32>,
    /// Those that were needed already.
    clients: BTreeMap<i32, PartitionClient>,
}

impl Connection {
    /// Connects, and finds the partitions of the topic.
    pub(super) async fn open(address: &Address, topic: &str, encrypted: bool, sasl: Sasl) -> Result<Self, Trouble> {
        let opened = timeout(CONNECT_TIMEOUT, Box::pin(Self::connect(address, topic, encrypted, sasl))).await;
        opened.unwrap_or_else(|_| Err(Trouble::late(KIND, CONNECT_TIMEOUT)))
    }

    async fn connect(address: &Address, topic: &str, encrypted: bool, sasl: Sasl) -> Result<Self, Trouble> {
        let retries = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
            deadline: Some(CONFIRMATION),
        };
        let mut builder = ClientBuilder::new(address.servers(9092)).client_id("boxoffice").backoff_config(retries);
        if encrypted {
            builder = builder.tls_config(Arc::new(tls(address)?));
        }
        if let Some((user, password)) = address.user() {
            let credentials = Credentials::new(user, password.unwrap_or_default());
            builder = builder.sasl_config(match sasl {
                Sasl::Plain => SaslConfig::Plain(credentials),
                Sasl::ScramSha256 => SaslConfig::ScramSha256(credentials),
                Sasl::ScramSha512 => SaslConfig::ScramSha512(credentials),
            });
        }
        let client = builder.build().await.map_err(|error| failed(&error))?;
        let topics = client.list_topics().await.map_err(|error| failed(&error))?;
        let Some(found) = topics.into_iter().find(|found| found.name == topic) else {
            // To ask for it makes servers create it that are set up so. It is there at the next attempt.
            let asked = client.partition_client(topic, 0, UnknownTopicHandling::Error).await;
            return Err(trouble(&asked.map_or_else(
                |_| format!("there is no topic {topic}, and the server does not create it"),
                |_| format!("the topic {topic} is being created"),
            )));
        };
        Ok(Self {
            client,
            topic: topic.to_owned(),
            partitions: found.partitions.into_iter().collect(),
            clients: BTreeMap::new(),
        })
    }

    pub(super) async fn deliver(&mut self, messages: &[Message<'_>]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut by_partition: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (index, message) in messages.iter().enumerate() {
            by_partition.entry(self.partition(message.aggregate())).or_default().push(index);
        }
        let begin = Instant::now();
        if let Some(trouble) = self.connect_to(by_partition.keys().copied()).await
            && !by_partition.keys().any(|partition| self.clients.contains_key(partition))
        {
            outcome.trouble = Some(trouble);
            return outcome;
        }
        // What is for another partition is delivered next time.
        let produced = by_partition.iter().filter_map(|(partition, indices)| {
            let client = self.clients.get(partition)?;
            Some(produce(client, messages, indices, begin))
        });
        for of_partition in join_all(produced).await {
            outcome.confirmed.extend(of_partition.confirmed);
            outcome.refused.extend(of_partition.refused);
            outcome.trouble = outcome.trouble.or(of_partition.trouble);
        }
        outcome
    }

    /// Connects to the leaders of these partitions, all at once. Returns why one of them is not connected.
    async fn connect_to(&mut self, partitions: impl Iterator<Item = i32>) -> Option<Trouble> {
        let missing: Vec<_> = partitions.filter(|partition| !self.clients.contains_key(partition)).collect();
        let connected = join_all(missing.into_iter().map(async |partition| {
            let client = self.client.partition_client(&self.topic, partition, UnknownTopicHandling::Error);
            (partition, timeout(CONFIRMATION, client).await)
        }));
        let mut trouble = None;
        for (partition, client) in connected.await {
            match client {
                Ok(Ok(client)) => {
                    self.clients.insert(partition, client);
                }
                Ok(Err(error)) => trouble = Some(failed(&error)),
                Err(_) => trouble = Some(Trouble::late(KIND, CONFIRMATION)),
            }
        }
        trouble
    }

    fn partition(&self, key: &str) -> i32 {
        let hash = murmur2(key.as_bytes()) & 0x7fff_ffff;
        self.partitions.get(hash as usize % self.partitions.len().max(1)).copied().unwrap_or_default()
    }
}

/// Produces these messages of a partition, batch after batch.
async fn produce(client: &PartitionClient, messages: &[Message<'_>], indices: &[usize], begin: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut rest = indices;
    // Of these no further event is sent, because one was refused.
    let mut refused: Vec<&str> = Vec::new();
    let mut alone = false;
    while let Some((batch, after)) = next_batch(messages, rest, alone).filter(|_| begin.elapsed() < SENDING) {
        let sent: Vec<usize> =
            batch.iter().copied().filter(|index| !refused.contains(&messages[*index].aggregate())).collect();
        let records: Vec<_> = sent.iter().map(|index| record(&messages[*index])).collect();
        let produced = timeout(CONFIRMATION, client.produce(records, Compression::NoCompression)).await;
        match produced.map_or_else(
            |_| Err(Failure::Trouble(Trouble::late(KIND, CONFIRMATION))),
            |answer| answer.map(|_| ()).map_err(|error| failure(&error)),
        ) {
            Ok(()) => outcome.confirmed.extend(sent),
            Err(Failure::Trouble(trouble)) => {
                outcome.trouble = Some(trouble);
                return outcome;
            }
            // The batch may be too large as a whole, so its records are sent one by one.
            Err(Failure::Refused(_)) if sent.len() > 1 => {
                alone = true;
                continue;
            }
            Err(Failure::Refused(why)) => {
                refused.extend(sent.iter().map(|index| messages[*index].aggregate()));
                outcome.refused.extend(sent.into_iter().map(|index| (index, why.clone())));
            }
        }
        rest = after;
    }
    outcome
}

/// The next messages, together about as large as a batch may be, and those after them.
fn next_batch<'i>(messages: &[Message<'_>], rest: &'i [usize], alone: bool) -> Option<(&'i [usize], &'i [usize])> {
    let mut bytes = 0;
    let fitting = rest.iter().take_while(|index| {
        bytes += messages[**index].data_len() + 1_000;
        bytes <= BATCH_BYTES
    });
    let most = if alone { 1 } else { fitting.count().max(1) };
    (!rest.is_empty()).then(|| rest.split_at(most.min(rest.len())))
}

fn record(message: &Message<'_>) -> Record {
    let attributes = message.attributes().map(|(name, value)| (format!("ce_{name}"), value.into_owned().into_bytes()));
    let content_type = ("content-type".to_owned(), CONTENT_TYPE.as_bytes().to_vec());
    Record {
        key: Some(message.aggregate().as_bytes().to_vec()),
        value: Some(message.data()),
        headers: attributes.chain([content_type]).collect(),
        timestamp: message.time().unwrap_or_default(),
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::ServerError {
            protocol_error:
                protocol_error @ (ProtocolError::MessageTooLarge
                | ProtocolError::RecordListTooLarge
                | ProtocolError::InvalidRecord
                | ProtocolError::InvalidTimestamp),
            ..
        } => Failure::Refused(format!("Kafka refuses the record: {protocol_error}")),
        _ => Failure::Trouble(failed(error)),
    }
}

fn tls(address: &Address) -> Result<ClientConfig, Trouble> {
    let mut roots = RootCertStore::empty();
    match &address.ca_file {
        Some(file) => {
            let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            roots.add_parsable_certificates(certificates.map_err(|error| trouble(&error.to_string()))?);
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| trouble(&error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn failed(error: &Error) -> Trouble {
    match error {
        // The error's own text has the whole request.
        Error::ServerError { protocol_error, .. } => trouble(&protocol_error.to_string()),
        _ => trouble(&error.to_string()),
    }
}

fn trouble(why: &str) -> Trouble {
    Trouble::Broker(format!("Kafka: {why}"))
}

/// The hash by which Java's client chooses the partition of a key.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |word: u32| {
        let word = word.wrapping_mul(M);
        (word ^ (word >> 24)).wrapping_mul(M)
    };
    let words = data.chunks_exact(4);
    let rest = words.remainder();
    let mut hash = words.fold(0x9747_b28c ^ data.len() as u32, |hash, word| {
        hash.wrapping_mul(M) ^ mix(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    });
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of Kafka's own client.
    #[test]
    fn keys_have_the_hash_of_the_java_client() {
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
