// The functions of a page of browser.js: read, watch and reserve the seats of a showtime, with connect-web over grpc-web
// and types read from the descriptor set. It runs in the browser.

import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const parameters = new URLSearchParams(location.search);
const showtimeId = parameters.get("showtime");

const descriptors = await (await fetch("/descriptors.bin")).arrayBuffer();
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, new Uint8Array(descriptors)));
// The timeout applies to a stream as a whole too.
const transport = createGrpcWebTransport({ baseUrl: parameters.get("service"), defaultTimeoutMs: 20_000 });
const client = (service) => createClient(registry.getService(`boxoffice.v1.${service}`), transport);
const [showtimes, reservations] = [client("Showtimes"), client("Reservations")];
let messages;

const stateNames = registry.getEnum("boxoffice.v1.SeatState").value;
const seatName = ({ row, number }) => `${row}${number}`;

// The names of all seats, in the order of the layout. An aisle has no number. A missing seat has one, and no name.
function seatNames({ rows }) {
  return rows.flatMap(({ label, places }) => {
    const numbered = [...places.replaceAll("_", "")].map((place, index) => ({ place, number: index + 1 }));
    return numbered.filter(({ place }) => place !== ".").map(({ number }) => seatName({ row: label, number }));
  });
}

function mapOf({ revision, epoch, layout, states }) {
  const named = seatNames(layout).map((name, index) => [name, stateNames[states[index]].name]);
  return { revision: Number(revision), epoch, states: Object.fromEntries(named) };
}

function deltaOf({ baseRevision, revision, seats }) {
  const named = seats.map(({ seat, state }) => [seatName(seat), stateNames[state].name]);
  return { base: Number(baseRevision), revision: Number(revision), states: Object.fromEntries(named) };
}

export async function read(atLeastRevision) {
  const { seatMap } = await showtimes.getSeatMap({ showtimeId, atLeastRevision: BigInt(atLeastRevision) });
  return mapOf(seatMap);
}

// The next message of the watch that is not a heartbeat. The first call starts the watch.
export async function next() {
  messages ??= showtimes.watchSeatMap({ showtimeId })[Symbol.asyncIterator]();
  for (;;) {
    const { done, value } = await messages.next();
    if (done) throw new Error("the stream has ended");
    const { event } = value;
    if (event.case === "snapshot") return { snapshot: mapOf(event.value) };
    if (event.case === "delta") return { delta: deltaOf(event.value) };
    if (event.case !== "heartbeat") throw new Error(`unexpected: ${event.case}`);
  }
}

export async function reserve(seats) {
  const { reservation, revision } = await reservations.reserveSeats({ showtimeId, seats, customerId: "ada" });
  return { seats: reservation.seats.map(seatName), revision: Number(revision) };
}
