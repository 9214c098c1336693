// What a page of browser.js can do: read, watch and reserve the seats of a showtime, with connect-web over grpc-web, and
// types read from the descriptor set. It runs in the browser.

import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const asked = new URLSearchParams(location.search);
const showtimeId = asked.get("showtime");

const descriptors = await (await fetch("/descriptors.bin")).arrayBuffer();
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, new Uint8Array(descriptors)));
// A stream, too, is over by then.
const transport = createGrpcWebTransport({ baseUrl: asked.get("service"), defaultTimeoutMs: 20_000 });
const client = (service) => createClient(registry.getService(`boxoffice.v1.${service}`), transport);
const [showtimes, reservations] = [client("Showtimes"), client("Reservations")];
let words;

const stateNames = registry.getEnum("boxoffice.v1.SeatState").value;
const seatName = ({ row, number }) => `${row}${number}`;

// Every seat's name, in the order of the layout: an aisle has no number, a missing seat has one and is none.
function seatNames({ rows }) {
  return rows.flatMap(({ label, places }) => {
    const numbered = [...places.replaceAll("_", "")].map((place, index) => ({ place, number: index + 1 }));
    return numbered.filter(({ place }) => place !== ".").map(({ number }) => seatName({ row: label, number }));
  });
}

function shown({ revision, epoch, layout, states }) {
  const named = seatNames(layout).map((name, index) => [name, stateNames[states[index]].name]);
  return { revision: Number(revision), epoch, states: Object.fromEntries(named) };
}

function changed({ baseRevision, revision, seats }) {
  const named = seats.map(({ seat, state }) => [seatName(seat), stateNames[state].name]);
  return { base: Number(baseRevision), revision: Number(revision), states: Object.fromEntries(named) };
}

export async function look(atLeastRevision) {
  const { seatMap } = await showtimes.getSeatMap({ showtimeId, atLeastRevision: BigInt(atLeastRevision) });
  return shown(seatMap);
}

// The next word of the watch that is no mere sign of life. The first time, the watch begins.
export async function hear() {
  words ??= showtimes.watchSeatMap({ showtimeId })[Symbol.asyncIterator]();
  for (;;) {
    const { done, value } = await words.next();
    if (done) throw new Error("the watch has ended");
    const { event } = value;
    if (event.case === "snapshot") return { snapshot: shown(event.value) };
    if (event.case === "delta") return { delta: changed(event.value) };
    if (event.case !== "heartbeat") throw new Error(`unexpected: ${event.case}`);
  }
}

export async function reserve(seats) {
  const { reservation, revision } = await reservations.reserveSeats({ showtimeId, seats, customerId: "ada" });
  return { seats: reservation.seats.map(seatName), revision: Number(revision) };
}
