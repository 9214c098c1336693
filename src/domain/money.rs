//! Money: an amount in the smallest units of its currency. Never a float.

use std::fmt;

use super::violations::Violations;

/// The most that one seat may cost, in whole units of most currencies.
const MAX_UNITS: i64 = 1_000_000;
/// The same for currencies of which 1,000,000 buy little.
const MAX_SMALL_UNITS: i64 = 1_000_000_000;
const SMALL_UNITS: &str = "BIF COP GNF IDR IQD IRR KHR KRW LAK LBP MGA MMK MNT NGN PYG RWF SDG SLE SOS SSP STN SYP TZS \
    UGX UZS VES VND YER ZWG";
const NANOS: i32 = 1_000_000_000;

/// An ISO 4217 code, of those that are in use for prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency(&'static str);

const TWO_DECIMALS: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
    IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN \
    MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP \
    STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG";
const NO_DECIMALS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";

impl Currency {
    /// Looks a code up.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS]
            .into_iter()
            .flat_map(str::split_whitespace)
            .find(|known| *known == code)
            .map(Self)
    }

    /// The code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0
    }

    /// The most that one seat may cost, in whole units.
    #[must_use]
    pub fn max_units(self) -> i64 {
        if SMALL_UNITS.contains(self.0) { MAX_SMALL_UNITS } else { MAX_UNITS }
    }

    /// How many minor units make one.
    #[must_use]
    pub fn minor_per_unit(self) -> i64 {
        match self.0 {
            code if NO_DECIMALS.contains(code) => 1,
            code if THREE_DECIMALS.contains(code) => 1_000,
            _ => 100,
        }
    }
}

/// An amount: not negative, and small enough that sums of it never overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Of this currency,
    pub currency: Currency,
    /// so many of its smallest units.
    pub minor: i64,
}

impl Money {
    /// A price as the wire carries it: whole units and nanos of one.
    ///
    /// # Errors
    /// Names every flaw under its field of `google.type.Money`.
    pub fn price(code: &str, units: i64, nanos: i32) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let currency = Currency::parse(code);
        if currency.is_none() {
            violations.add("currency_code", "must be a known ISO 4217 code");
        }
        let most = currency.map_or(MAX_SMALL_UNITS, Currency::max_units);
        if !(0..=most).contains(&units) || (units == most && nanos > 0) {
            let code = currency.map_or("", Currency::code);
            violations.add("units", format!("a seat costs at least 0 and at most {most} {code}").trim_end());
        }
        let per_unit = currency.map_or(100, Currency::minor_per_unit);
        let nanos_per_minor = i64::from(NANOS) / per_unit;
        if !(0..NANOS).contains(&nanos) {
            violations.add("nanos", "must be from 0 to 999999999");
        } else if i64::from(nanos) % nanos_per_minor != 0 {
            let code = currency.map_or("the currency", Currency::code);
            violations.add("nanos", format!("must be a multiple of {nanos_per_minor}, the smallest unit of {code}"));
        }
        match currency {
            Some(currency) if violations.is_empty() => {
                Ok(Self { currency, minor: units * per_unit + i64::from(nanos) / nanos_per_minor })
            }
            _ => Err(violations),
        }
    }

    /// The whole units, and the nanos of one.
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
        match per_unit {
            1 => write!(f, "{units} {}", self.currency.code()),
            1_000 => write!(f, "{units}.{rest:03} {}", self.currency.code()),
            _ => write!(f, "{units}.{rest:02} {}", self.currency.code()),
        }
    }
}
