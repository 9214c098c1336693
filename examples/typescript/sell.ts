// Lists the coming showtimes, sells two of the best free seats, and reads why another customer cannot have them. It can be
// run any number of times: each run takes seats that are free, for a customer of its own. It runs in Node, and in a page
// from an origin that the service allows (--cors-origin).

import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import {
  Reservations,
  ReservationState,
  type Seat,
  SeatsUnavailableSchema,
} from "./generated/boxoffice/v1/reservations_pb.js";
import { type Showtime, Showtimes } from "./generated/boxoffice/v1/showtimes_pb.js";

const transport = createGrpcWebTransport({ baseUrl: "http://127.0.0.1:50051", defaultTimeoutMs: 5_000 });
const showtimes = createClient(Showtimes, transport);
const reservations = createClient(Reservations, transport);

const customerId = `ada-${crypto.randomUUID()}`;
const names = (seats: Seat[]) => seats.map((seat) => `${seat.row}${seat.number}`).join(" ");

// Holds two neighbouring seats of the first showtime that has them.
async function hold(listed: Showtime[]) {
  for (const { showtimeId, priceList } of listed) {
    // One seat is sold as the first ticket type, and one as the second, if there is one.
    const [first, second] = priceList?.ticketTypes ?? [];
    const ticketTypes = first && second ? [first, second].map(({ code }) => ({ code, count: 1 })) : [];
    // The request id makes it safe to repeat the call.
    const request = { showtimeId, seatCount: 2, ticketTypes, customerId, requestId: crypto.randomUUID() };
    try {
      return await reservations.reserveSeats(request);
    } catch (thrown) {
      // This showtime is sold out, so the next one is tried.
      if (ConnectError.from(thrown).code !== Code.FailedPrecondition) throw thrown;
    }
  }
  throw new Error("no showtime has two neighbouring seats that are free");
}

const { showtimes: listed } = await showtimes.listShowtimes({ startAfter: timestampNow() });
for (const each of listed) {
  console.log(`${each.localDate} ${each.auditorium?.name}: ${each.movie?.title}, ${each.availableCount} seats free`);
}

const { reservation: held } = await hold(listed);
console.log(`held ${names(held?.seats ?? [])} for ${held?.timeLeft?.seconds} seconds`);
for (const { seat, ticketType, total } of held?.lines ?? []) {
  const cents = String((total?.nanos ?? 0) / 10_000_000).padStart(2, "0");
  console.log(`  ${names(seat ? [seat] : [])} ${ticketType}: ${total?.units}.${cents} ${total?.currencyCode}`);
}

try {
  await reservations.reserveSeats({ showtimeId: held?.showtimeId, seats: held?.seats, customerId: "bob" });
} catch (thrown) {
  const refusal = ConnectError.from(thrown);
  const [unavailable] = refusal.findDetails(SeatsUnavailableSchema);
  console.log(`refused: ${refusal.rawMessage}`);
  console.log(`on offer: ${unavailable?.offers.map((offer) => names(offer.seats)).join(", ")}`);
}

const sale = { reservationId: held?.reservationId, tender: { method: "cash" }, requestId: crypto.randomUUID() };
const { reservation: sold } = await reservations.confirmReservation(sale);
console.log(`now ${ReservationState[sold?.state ?? ReservationState.UNSPECIFIED]}`);
