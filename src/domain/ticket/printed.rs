//! Tickets on paper: a page of HTML that needs nothing from elsewhere, and has what a guest needs and nothing else.

use std::fmt::Write as _;

use super::Ticket;
use crate::domain::{html::escaped, number::PurchaseNumber, seating::ShowtimePlan};

/// The style of the page. A sheet of A4 has two tickets.
const STYLE: &str = "
  * { box-sizing: border-box; margin: 0; }
  body { background: #eef0f3; color: #16181d; font: 16px/1.45 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }
  main { max-width: 720px; margin: 0 auto; padding: 24px 16px; }
  section { display: flex; flex-wrap: wrap; gap: 20px 28px; align-items: center; margin-bottom: 20px; padding: 24px;
    background: #fff; border: 1px solid #c9ced6; border-radius: 12px; }
  figure { flex: 0 0 240px; text-align: center; }
  figure svg { display: block; width: 240px; height: 240px; }
  figcaption { font: 600 15px/1.3 ui-monospace, 'DejaVu Sans Mono', monospace; }
  .about { flex: 1 1 280px; overflow-wrap: anywhere; }
  h1, h2 { font-size: 24px; line-height: 1.2; margin-bottom: 12px; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 16px; }
  dt { color: #59616e; }
  dd { font-weight: 600; }
  .seat { font-size: 22px; line-height: 1.1; }
  p { margin-top: 10px; }
  @page { size: A4; margin: 12mm; }
  @media print {
    body { background: none; }
    main { max-width: none; padding: 0; }
    section { min-height: 128mm; margin: 0 0 6mm; break-inside: avoid; border: 1px dashed #59616e; border-radius: 0; }
    figure { flex-basis: 70mm; }
    figure svg { width: 70mm; height: 70mm; }
  }
";

/// A ticket that is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrintedTicket {
    /// The title of the movie.
    pub movie: String,
    /// The name of the cinema; may be empty.
    pub cinema: String,
    /// The name of the auditorium.
    pub auditorium: String,
    /// The date in the time zone of the auditorium, as in "Friday, 15 January 2027".
    pub date: String,
    /// The start in this time zone, as in "20:00 (CET, Europe/Madrid)".
    pub time: String,
    /// The seat, as in "F7".
    pub seat: String,
    /// The name of the ticket type; may be empty.
    pub ticket_type: String,
    /// The number.
    pub number: String,
    /// The code, drawn as SVG.
    pub code: String,
}

impl PrintedTicket {
    /// A ticket with its code as SVG.
    #[must_use]
    pub fn of(ticket: &Ticket, plan: &ShowtimePlan, code: String) -> Self {
        let facts = &plan.facts;
        let start = facts.start_time.with_timezone(&facts.auditorium.time_zone);
        let ticket_type = facts.prices.ticket_types.get(usize::from(ticket.ticket_type));
        Self {
            movie: facts.movie.value.title.clone(),
            cinema: facts.auditorium.cinema.clone(),
            auditorium: facts.auditorium.name.clone(),
            date: start.format("%A, %-d %B %Y").to_string(),
            time: format!("{} ({})", start.format("%H:%M"), zone(&start)),
            seat: ticket.seat_name.to_string(),
            ticket_type: ticket_type.map(|one| one.name.clone()).unwrap_or_default(),
            number: ticket.number.to_string(),
            code,
        }
    }

    fn html(&self) -> String {
        let rows = [
            ("Cinema", &self.cinema, ""),
            ("Auditorium", &self.auditorium, ""),
            ("Date", &self.date, ""),
            ("Time", &self.time, ""),
            ("Seat", &self.seat, " class=\"seat\""),
            ("Ticket", &self.ticket_type, ""),
        ];
        let mut html = format!("<section>\n{}<div class=\"about\">\n", code(&self.code, &self.number));
        let _written = writeln!(html, "<h2>{}</h2>\n<dl>", escaped(&self.movie));
        for (name, value, class) in rows.into_iter().filter(|(_, value, _)| !value.is_empty()) {
            let _written = writeln!(html, "<dt>{name}</dt><dd{class}>{}</dd>", escaped(value));
        }
        html.push_str("</dl>\n</div>\n</section>\n");
        html
    }
}

/// The page of a purchase or of a ticket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrintedTickets {
    /// The number of the purchase, and its code for all tickets, drawn as SVG. It is printed if there are several tickets.
    pub purchase: Option<(PurchaseNumber, String)>,
    /// The tickets that admit their holders.
    pub tickets: Vec<PrintedTicket>,
    /// How many others were used.
    pub used: usize,
    /// How many others do not admit their holders as long as their money is not taken, or is being given back.
    pub blocked: usize,
    /// How many others are void.
    pub void: usize,
}

impl PrintedTickets {
    /// The page as HTML, in UTF-8.
    #[must_use]
    pub fn html(&self) -> String {
        let movie = self.tickets.first().map_or("no ticket", |ticket| &ticket.movie);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>Tickets: {}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
            escaped(movie)
        );
        if let Some((number, drawn)) = self.purchase.as_ref().filter(|_| self.tickets.len() > 1) {
            html.push_str(&all_of(&number.to_string(), drawn, &self.tickets));
        }
        for ticket in &self.tickets {
            html.push_str(&ticket.html());
        }
        if self.tickets.is_empty() {
            html.push_str("<h1>There is no ticket to print</h1>\n");
        }
        for (count, one, several) in [
            (self.used, "was used before", "were used before"),
            (
                self.blocked,
                "is not paid for yet, or its money is being given back",
                "are not paid for yet, or their money is being given back",
            ),
            (self.void, "was given up or exchanged", "were given up or exchanged"),
        ] {
            let sentence = match count {
                0 => continue,
                1 => format!("1 ticket {one}"),
                _ => format!("{count} tickets {several}"),
            };
            let _written = writeln!(html, "<p>{sentence}.</p>");
        }
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }
}

/// The code of a purchase for all its tickets.
fn all_of(number: &str, drawn: &str, tickets: &[PrintedTicket]) -> String {
    let first = tickets.first().map(|ticket| [&*ticket.movie, &ticket.date, &ticket.time].map(escaped).join("<br>"));
    let (code, first, tickets) = (code(drawn, number), first.unwrap_or_default(), tickets.len());
    format!(
        "<section>\n{code}<div class=\"about\">\n<h1>{tickets} tickets</h1>\n<p>{first}</p>\n\
         <p>This code admits the holders of all {tickets} tickets together, or as many of them as have come.</p>\n\
         <p>Each ticket has a code of its own, too. Each admits once.</p>\n</div>\n</section>\n"
    )
}

/// A code with its number below it.
fn code(drawn: &str, number: &str) -> String {
    format!("<figure>{drawn}<figcaption>{}</figcaption></figure>\n", escaped(number))
}

/// The zone of a time, as in "CET, Europe/Madrid".
fn zone(time: &chrono::DateTime<chrono_tz::Tz>) -> String {
    let (short, name) = (time.format("%Z").to_string(), time.timezone().name());
    if short == name { short } else { format!("{short}, {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(seat: &str) -> PrintedTicket {
        PrintedTicket {
            movie: "<b>Tom & Jerry</b>".to_owned(),
            cinema: String::new(),
            auditorium: "Screen \"1\"".to_owned(),
            date: "Friday, 15 January 2027".to_owned(),
            time: "20:00 (CET, Europe/Madrid)".to_owned(),
            seat: seat.to_owned(),
            ticket_type: "Adult".to_owned(),
            number: "TKT-7ZK4M-0QX3B".to_owned(),
            code: "<svg></svg>".to_owned(),
        }
    }

    #[test]
    fn names_are_escaped_and_what_is_empty_is_left_out() {
        let page = PrintedTickets { tickets: vec![ticket("F7")], ..PrintedTickets::default() }.html();
        assert!(page.contains("<h2>&lt;b&gt;Tom &amp; Jerry&lt;/b&gt;</h2>"), "{page}");
        assert!(page.contains("<title>Tickets: &lt;b&gt;Tom &amp; Jerry&lt;/b&gt;</title>"), "{page}");
        assert!(page.contains("<dd>Screen &quot;1&quot;</dd>"), "{page}");
        assert!(page.contains("<dd class=\"seat\">F7</dd>"), "{page}");
        assert!(!page.contains("Cinema"), "{page}");
    }

    #[test]
    fn the_code_of_the_purchase_is_printed_for_several_tickets_only() {
        let number = PurchaseNumber::restore("7ZK4M0QX3B".to_owned());
        let purchase = Some((number, "<svg id=\"all\"></svg>".to_owned()));
        let of = |tickets| PrintedTickets { purchase: purchase.clone(), tickets, ..PrintedTickets::default() }.html();
        let has_both = |page: &str| page.contains("PUR-7ZK4M-0QX3B") && page.contains("<svg id=\"all\">");
        assert!(has_both(&of(vec![ticket("F7"), ticket("F8")])));
        let one = of(vec![ticket("F7")]);
        assert!(!one.contains("PUR-") && !one.contains("id=\"all\""), "{one}");
    }

    #[test]
    fn tickets_that_are_left_out_are_counted() {
        let counts = PrintedTickets { used: 2, blocked: 1, void: 1, ..PrintedTickets::default() }.html();
        for text in [
            "<h1>There is no ticket to print</h1>",
            "<p>2 tickets were used before.</p>",
            "<p>1 ticket is not paid for yet, or its money is being given back.</p>",
            "<p>1 ticket was given up or exchanged.</p>",
        ] {
            assert!(counts.contains(text), "{text}: {counts}");
        }
    }
}
