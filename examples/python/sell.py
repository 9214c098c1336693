"""Schedules a showtime with two ticket types, sells two of its best seats, and reads why another customer cannot have them.

    python sell.py [ADDRESS]

It can be run any number of times: each run has a showtime of its own, and cancels it at the end.
"""

import random
import sys
import uuid
from datetime import datetime, timedelta, timezone

import grpc
from boxoffice.v1 import auditoriums_pb2, auditoriums_pb2_grpc, prices_pb2, reservations_pb2, reservations_pb2_grpc
from boxoffice.v1 import showtimes_pb2, showtimes_pb2_grpc
from google.type import money_pb2
from grpc_status import rpc_status


def main(address):
    with grpc.insecure_channel(address) as channel:
        auditoriums = auditoriums_pb2_grpc.AuditoriumsStub(channel)
        showtimes = showtimes_pb2_grpc.ShowtimesStub(channel)
        reservations = reservations_pb2_grpc.ReservationsStub(channel)

        auditorium = auditoriums.ListAuditoriums(auditoriums_pb2.ListAuditoriumsRequest(), timeout=5).auditoriums[0]
        request = showtimes_pb2.CreateShowtimeRequest(
            movie_id="tt1375666",
            auditorium_id=auditorium.auditorium_id,
            # Random, because the showtimes of two runs must not overlap.
            start_time=datetime.now(timezone.utc) + timedelta(days=random.uniform(30, 395)),
            duration=timedelta(minutes=148),
            price_list=prices_pb2.PriceList(
                ticket_types=[
                    prices_pb2.TicketType(code="adult", name="Adult", price=euros(12, 500_000_000)),
                    prices_pb2.TicketType(code="child", name="Child up to 12", price=euros(8)),
                ],
                fee=euros(0, 750_000_000),
                tax_basis_points=1_000,
            ),
        )
        showtime = showtimes.CreateShowtime(request, timeout=5).showtime
        print(f"scheduled {showtime.movie.title} on {showtime.local_date}, {showtime.available_count} seats free")
        try:
            sell(reservations, showtime.showtime_id)
        finally:
            request = showtimes_pb2.CancelShowtimeRequest(showtime_id=showtime.showtime_id, force=True)
            cancelled = showtimes.CancelShowtime(request, timeout=5).showtime
            print(f"now {showtimes_pb2.ShowtimeState.Name(cancelled.state)}, with its reservations")


def sell(reservations, showtime_id):
    request = reservations_pb2.ReserveSeatsRequest(
        showtime_id=showtime_id,
        seat_count=2,
        ticket_types=[prices_pb2.TicketCount(code="adult", count=1), prices_pb2.TicketCount(code="child", count=1)],
        customer_id="ada",
        request_id=str(uuid.uuid4()),
    )
    held = reservations.ReserveSeats(request, timeout=5).reservation
    print(f"held {names(held.seats)} for {held.time_left.seconds} seconds, {amount(held.total_price)}")
    for line in held.lines:
        print(f"  {names([line.seat])} {line.ticket_type}: {amount(line.total)}")

    request = reservations_pb2.ReserveSeatsRequest(
        showtime_id=showtime_id, seats=held.seats, customer_id="bob", request_id=str(uuid.uuid4())
    )
    try:
        reservations.ReserveSeats(request, timeout=5)
    except grpc.RpcError as error:
        print(f"refused: {error.details()}")
        print(f"on offer: {[names(offer.seats) for offer in unavailable(error).offers]}")

    request = reservations_pb2.ConfirmReservationRequest(
        reservation_id=held.reservation_id, request_id=str(uuid.uuid4())
    )
    sold = reservations.ConfirmReservation(request, timeout=5).reservation
    print(f"now {reservations_pb2.ReservationState.Name(sold.state)}")


def euros(units, nanos=0):
    return money_pb2.Money(currency_code="EUR", units=units, nanos=nanos)


def amount(money):
    return f"{money.units}.{money.nanos // 10_000_000:02} {money.currency_code}"


def names(seats):
    return " ".join(f"{seat.row}{seat.number}" for seat in seats)


def unavailable(error):
    """The detail of the refusal: the seats that cannot be reserved, and other blocks on offer."""
    seats = reservations_pb2.SeatsUnavailable()
    for detail in rpc_status.from_call(error).details:
        if detail.Unpack(seats):
            break
    return seats


if __name__ == "__main__":
    main(*sys.argv[1:] or ["127.0.0.1:50051"])
