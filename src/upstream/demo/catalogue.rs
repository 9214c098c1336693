//! The catalogue of the demo provider: well-known films, so that a search finds something.

use crate::pb::movies::ShowResponse;

/// One film of the catalogue.
pub(super) struct Film {
    pub(super) id: &'static str,
    rank: u16,
    pub(super) title: &'static str,
    year: u16,
    crew: &'static str,
    rating: &'static str,
    rating_count: u32,
}

impl Film {
    /// The film as the provider sends it: all fields are text.
    pub(super) fn show(&self) -> ShowResponse {
        ShowResponse {
            id: self.id.to_owned(),
            rank: self.rank.to_string(),
            title: self.title.to_owned(),
            full_title: format!("{} ({})", self.title, self.year),
            year: self.year.to_string(),
            image: format!("https://example.com/posters/{}.jpg", self.id),
            crew: self.crew.to_owned(),
            im_db_rating: self.rating.to_owned(),
            im_db_rating_count: self.rating_count.to_string(),
        }
    }
}

const fn film(
    id: &'static str,
    rank: u16,
    title: &'static str,
    year: u16,
    crew: &'static str,
    rating: &'static str,
    rating_count: u32,
) -> Film {
    Film { id, rank, title, year, crew, rating, rating_count }
}

/// The films, by rank.
pub(super) const FILMS: &[Film] = &[
    film(
        "tt0111161",
        1,
        "The Shawshank Redemption",
        1994,
        "Frank Darabont (dir.), Tim Robbins, Morgan Freeman",
        "9.3",
        2_745_000,
    ),
    film(
        "tt0068646",
        2,
        "The Godfather",
        1972,
        "Francis Ford Coppola (dir.), Marlon Brando, Al Pacino",
        "9.2",
        1_910_000,
    ),
    film(
        "tt0468569",
        3,
        "The Dark Knight",
        2008,
        "Christopher Nolan (dir.), Christian Bale, Heath Ledger",
        "9.0",
        2_720_000,
    ),
    film(
        "tt0071562",
        4,
        "The Godfather Part II",
        1974,
        "Francis Ford Coppola (dir.), Al Pacino, Robert De Niro",
        "9.0",
        1_300_000,
    ),
    film("tt0050083", 5, "12 Angry Men", 1957, "Sidney Lumet (dir.), Henry Fonda, Lee J. Cobb", "9.0", 815_000),
    film(
        "tt0108052",
        6,
        "Schindler's List",
        1993,
        "Steven Spielberg (dir.), Liam Neeson, Ralph Fiennes",
        "9.0",
        1_390_000,
    ),
    film(
        "tt0167260",
        7,
        "The Lord of the Rings: The Return of the King",
        2003,
        "Peter Jackson (dir.), Elijah Wood, Viggo Mortensen",
        "9.0",
        1_890_000,
    ),
    film(
        "tt0110912",
        8,
        "Pulp Fiction",
        1994,
        "Quentin Tarantino (dir.), John Travolta, Uma Thurman",
        "8.9",
        2_110_000,
    ),
    film(
        "tt0060196",
        9,
        "The Good, the Bad and the Ugly",
        1966,
        "Sergio Leone (dir.), Clint Eastwood, Eli Wallach",
        "8.8",
        780_000,
    ),
    film("tt0109830", 10, "Forrest Gump", 1994, "Robert Zemeckis (dir.), Tom Hanks, Robin Wright", "8.8", 2_140_000),
    film("tt0137523", 11, "Fight Club", 1999, "David Fincher (dir.), Brad Pitt, Edward Norton", "8.8", 2_190_000),
    film(
        "tt1375666",
        12,
        "Inception",
        2010,
        "Christopher Nolan (dir.), Leonardo DiCaprio, Joseph Gordon-Levitt",
        "8.8",
        2_410_000,
    ),
    film(
        "tt0133093",
        13,
        "The Matrix",
        1999,
        "Lana Wachowski (dir.), Keanu Reeves, Laurence Fishburne",
        "8.7",
        1_960_000,
    ),
    film("tt0099685", 14, "Goodfellas", 1990, "Martin Scorsese (dir.), Robert De Niro, Ray Liotta", "8.7", 1_190_000),
    film(
        "tt0073486",
        15,
        "One Flew Over the Cuckoo's Nest",
        1975,
        "Milos Forman (dir.), Jack Nicholson, Louise Fletcher",
        "8.7",
        1_030_000,
    ),
    film(
        "tt0047478",
        16,
        "Seven Samurai",
        1954,
        "Akira Kurosawa (dir.), Toshiro Mifune, Takashi Shimura",
        "8.6",
        355_000,
    ),
    film("tt0245429", 17, "Spirited Away", 2001, "Hayao Miyazaki (dir.), Rumi Hiiragi, Miyu Irino", "8.6", 790_000),
    film(
        "tt0816692",
        18,
        "Interstellar",
        2014,
        "Christopher Nolan (dir.), Matthew McConaughey, Anne Hathaway",
        "8.6",
        1_900_000,
    ),
    film("tt6751668", 19, "Parasite", 2019, "Bong Joon Ho (dir.), Song Kang-ho, Lee Sun-kyun", "8.5", 860_000),
    film("tt0034583", 20, "Casablanca", 1942, "Michael Curtiz (dir.), Humphrey Bogart, Ingrid Bergman", "8.5", 585_000),
    film("tt0054215", 21, "Psycho", 1960, "Alfred Hitchcock (dir.), Anthony Perkins, Janet Leigh", "8.5", 690_000),
    film("tt0078748", 22, "Alien", 1979, "Ridley Scott (dir.), Sigourney Weaver, Tom Skerritt", "8.5", 910_000),
    film(
        "tt0082971",
        23,
        "Raiders of the Lost Ark",
        1981,
        "Steven Spielberg (dir.), Harrison Ford, Karen Allen",
        "8.4",
        995_000,
    ),
    film(
        "tt0211915",
        24,
        "Amélie",
        2001,
        "Jean-Pierre Jeunet (dir.), Audrey Tautou, Mathieu Kassovitz",
        "8.3",
        770_000,
    ),
    film(
        "tt0062622",
        25,
        "2001: A Space Odyssey",
        1968,
        "Stanley Kubrick (dir.), Keir Dullea, Gary Lockwood",
        "8.3",
        690_000,
    ),
];
