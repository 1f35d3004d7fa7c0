//! What people and places are called.

/// First names, and how they are spelt in an address.
pub(super) const FIRST: [(&str, &str); 40] = [
    ("Ada", "ada"),
    ("Zoë", "zoe"),
    ("Jürgen", "juergen"),
    ("Søren", "soeren"),
    ("Siobhán", "siobhan"),
    ("José", "jose"),
    ("Anaïs", "anais"),
    ("Łukasz", "lukasz"),
    ("Dvořák", "dvorak"),
    ("Nguyễn", "nguyen"),
    ("美咲", "misaki"),
    ("健太", "kenta"),
    ("Ольга", "olga"),
    ("Дмитрий", "dmitri"),
    ("محمد", "mohammed"),
    ("ليلى", "layla"),
    ("שרה", "sarah"),
    ("Ωρίων", "orion"),
    ("अनन्या", "ananya"),
    ("지우", "jiwoo"),
    ("Ines", "ines"),
    ("Leo", "leo"),
    ("Nia", "nia"),
    ("Tom", "tom"),
    ("Grace", "grace"),
    ("Kofi", "kofi"),
    ("Priya", "priya"),
    ("Marco", "marco"),
    ("Emma", "emma"),
    ("Noah", "noah"),
    ("Olivia", "olivia"),
    ("Liam", "liam"),
    ("Mia", "mia"),
    ("Ben", "ben"),
    ("Hannah", "hannah"),
    ("Paulo", "paulo"),
    ("Fatima", "fatima"),
    ("Erik", "erik"),
    ("Ruth", "ruth"),
    ("Dana", "dana"),
];

/// Last names, as JSON text, and how they are spelt in an address.
pub(super) const LAST: [(&str, &str); 36] = [
    ("Okafor", "okafor"),
    ("Müller", "mueller"),
    ("O'Neill", "oneill"),
    ("García Márquez", "garcia"),
    ("Þórsdóttir", "thorsdottir"),
    ("Škvorecký", "skvorecky"),
    ("de la Cruz", "delacruz"),
    ("佐藤", "sato"),
    ("鈴木", "suzuki"),
    ("Иванова", "ivanova"),
    ("الحسن", "alhassan"),
    ("כהן", "cohen"),
    ("Παπαδόπουλος", "papadopoulos"),
    ("शर्मा", "sharma"),
    ("김", "kim"),
    ("Smith-Ångström", "smith"),
    (r#"\"Bobby\" Tables"#, "tables"),
    (r"Back\\slash", "backslash"),
    ("Tab\\u0009ula", "tabula"),
    ("Party 🎉", "party"),
    ("Nu\u{308}ñez", "nunez"),
    ("<script>", "script"),
    ("Brown", "brown"),
    ("Lee", "lee"),
    ("Novak", "novak"),
    ("Silva", "silva"),
    ("Rossi", "rossi"),
    ("Khan", "khan"),
    ("Dubois", "dubois"),
    ("Jensen", "jensen"),
    ("Mensah", "mensah"),
    ("Tanaka", "tanaka"),
    ("Wilson", "wilson"),
    ("Admin", "admin"),
    ("Leaver", "leaver"),
    ("New", "new"),
];

/// Somewhere that requests come from.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) country: &'static str,
    pub(super) code: &'static str,
    pub(super) region: &'static str,
    pub(super) city: &'static str,
    pub(super) latitude: &'static str,
    pub(super) longitude: &'static str,
    pub(super) continent: &'static str,
    /// Hours; for offices one of [`OFFSETS`](super::calendar::OFFSETS).
    pub(super) offset: i8,
}

const fn place(
    [country, code, region, city, latitude, longitude, continent]: [&'static str; 7],
    offset: i8,
) -> Place {
    Place { country, code, region, city, latitude, longitude, continent, offset }
}

/// Where the company has offices, largest first.
pub(super) static OFFICES: [Place; 6] = [
    place(["Canada", "CA", "Ontario", "Toronto", "43.6532", "-79.3832", "North America"], -5),
    place(["Germany", "DE", "Hesse", "Frankfurt am Main", "50.1109", "8.6821", "Europe"], 1),
    place(["United Kingdom", "GB", "England", "London", "51.5072", "-0.1276", "Europe"], 0),
    place(
        ["United States", "US", "California", "San José", "37.3387", "-121.8853", "North America"],
        -8,
    ),
    place(["Brazil", "BR", "São Paulo", "São Paulo", "-23.5505", "-46.6333", "South America"], -3),
    place(["Japan", "JP", "東京都", "千代田区", "35.694", "139.7536", "Asia"], 9),
];

/// Where only strangers sign in from.
pub(super) static ELSEWHERE: [Place; 5] = [
    place(["China", "CN", "Guangdong", "Shenzhen", "22.5455", "114.0683", "Asia"], 8),
    place(["Romania", "RO", "Cluj", "Cluj-Napoca", "46.7712", "23.6236", "Europe"], 2),
    place(["Nigeria", "NG", "Lagos", "Lagos", "6.4541", "3.3947", "Africa"], 1),
    place(
        ["Argentina", "AR", "Buenos Aires", "La Plata", "-34.9215", "-57.9545", "South America"],
        -3,
    ),
    place(["Australia", "AU", "Victoria", "Melbourne", "-37.814", "144.9633", "Oceania"], 10),
];
