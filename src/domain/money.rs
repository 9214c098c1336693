//! Money: an amount in the smallest units of its currency, never a float.

#[cfg(test)]
mod tests;

use std::fmt;

use super::violations::Violations;

const NANOS: i32 = 1_000_000_000;
/// No payment is as large as this many times the most that a seat may cost.
const MOST_PRICES: i64 = 1_000;

/// An ISO 4217 code, of the currencies that prices are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency(&'static str);

const TWO_DECIMALS: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
    IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN \
    MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP \
    STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG";
const NO_DECIMALS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// The most that a seat may cost, in units of any currency that the next table does not name.
const USUAL_CAP: i64 = 1_000_000;

/// The most that a seat may cost, in units of currencies of which hundreds, thousands, and tens of thousands or more make one
/// US dollar. A cap catches a slip of the decimal point, so it follows the order of magnitude and not the exchange rate.
const CAPS: [(i64, &str); 3] = [
    (
        100_000_000,
        "ALL AMD AOA BDT CRC CVE DJF DZD GYD HTG HUF ISK JMD JPY KES KMF KPW KZT LKR LRD NPR PKR RSD SDG SOS VES VUV XAF \
         XOF XPF YER CLP",
    ),
    (1_000_000_000, "ARS BIF CDF COP IQD GNF KHR KRW MGA MMK MNT MWK NGN PYG RWF SSP TZS UGX"),
    (100_000_000_000, "IDR IRR LAK LBP SYP UZS VND"),
];

impl Currency {
    /// Finds a currency by its code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::all().find(|currency| currency.0 == code)
    }

    /// Every currency.
    pub fn all() -> impl Iterator<Item = Self> {
        [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS].into_iter().flat_map(str::split_whitespace).map(Self)
    }

    /// The code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0
    }

    /// The number of its smallest units in one unit: 1, 100 or 1,000.
    #[must_use]
    pub fn minor_per_unit(self) -> i64 {
        10_i64.pow(self.decimals())
    }

    /// The most that a seat may cost, in units.
    #[must_use]
    pub fn price_cap(self) -> i64 {
        CAPS.iter().find(|(_, codes)| codes.contains(self.0)).map_or(USUAL_CAP, |(cap, _)| *cap)
    }

    fn decimals(self) -> u32 {
        match self.0 {
            code if NO_DECIMALS.contains(code) => 0,
            code if THREE_DECIMALS.contains(code) => 3,
            _ => 2,
        }
    }
}

/// An amount of money. A price is not negative, and so small that the sum of all seats of an auditorium cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// The currency of the amount.
    pub currency: Currency,
    /// The amount in the currency's smallest units.
    pub minor: i64,
}

impl Money {
    /// The price of a seat, from its units and the billionths of a unit.
    ///
    /// # Errors
    /// Names every flaw under its field of `google.type.Money`.
    pub fn price(code: &str, units: i64, nanos: i32) -> Result<Self, Violations> {
        let cap = |currency: Currency| currency.price_cap();
        Self::read((code, units, nanos), cap, |cap| format!("a seat may cost no more than {cap} {code}"))
    }

    /// An amount that is paid for several seats, from its units and the billionths of a unit.
    ///
    /// # Errors
    /// Names every flaw under its field of `google.type.Money`.
    pub fn amount(code: &str, units: i64, nanos: i32) -> Result<Self, Violations> {
        let cap = |currency: Currency| currency.price_cap().saturating_mul(MOST_PRICES);
        Self::read((code, units, nanos), cap, |_| "no payment is as large".to_owned())
    }

    fn read(
        (code, units, nanos): (&str, i64, i32),
        cap: impl FnOnce(Currency) -> i64,
        why: impl FnOnce(i64) -> String,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let currency = Currency::parse(code);
        if currency.is_none() {
            violations.add("currency_code", "must be a known ISO 4217 code, such as EUR");
        }
        if units < 0 {
            violations.add("units", "must not be negative");
        }
        if !(0..NANOS).contains(&nanos) {
            violations.add("nanos", "must be from 0 to 999999999");
        }
        // The other bounds depend on the currency.
        let Some(currency) = currency else { return Err(violations) };
        let cap = cap(currency);
        if units > cap || (units == cap && nanos > 0) {
            violations.add("units", format!("must be at most {cap}: {}", why(cap)));
        }
        let nanos_per_minor = i64::from(NANOS) / currency.minor_per_unit();
        if (0..NANOS).contains(&nanos) && i64::from(nanos) % nanos_per_minor != 0 {
            violations.add(
                "nanos",
                match currency.decimals() {
                    0 => format!("must be 0: {code} has no decimal places"),
                    decimals => {
                        format!("must be a multiple of {nanos_per_minor}: {code} has {decimals} decimal places")
                    }
                },
            );
        }
        if violations.is_empty() {
            Ok(Self { currency, minor: units * currency.minor_per_unit() + i64::from(nanos) / nanos_per_minor })
        } else {
            Err(violations)
        }
    }

    /// The amount as units and billionths of a unit.
    #[must_use]
    pub fn units_and_nanos(self) -> (i64, i32) {
        let per_unit = self.currency.minor_per_unit();
        (self.minor / per_unit, (self.minor % per_unit * (i64::from(NANOS) / per_unit)) as i32)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_unit = self.currency.minor_per_unit();
        let (units, rest) = (self.minor / per_unit, self.minor % per_unit);
        match self.currency.decimals() as usize {
            0 => write!(f, "{units} {}", self.currency.code()),
            decimals => write!(f, "{units}.{rest:0decimals$} {}", self.currency.code()),
        }
    }
}
