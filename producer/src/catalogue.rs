//! The shop's catalogue: categories, brands and products.

/// A category with its products.
pub(crate) struct Category {
    pub(crate) name: &'static str,
    pub(crate) products: &'static [Product],
}

pub(crate) struct Product {
    pub(crate) brand: &'static str,
    pub(crate) name: &'static str,
    /// Lowest and highest price in cents.
    pub(crate) cents: (u32, u32),
}

const fn product(brand: &'static str, name: &'static str, from: u32, to: u32) -> Product {
    Product { brand, name, cents: (from, to) }
}

/// Customers have the numbers from 1 to this.
pub(crate) const CUSTOMERS: u64 = 1000;

pub(crate) const PAYMENT_METHODS: [&str; 4] = ["COD", "Debit Card", "Credit Card", "Paylater"];

pub(crate) const CATEGORIES: [Category; 4] = [
    Category {
        name: "Skincare",
        products: &[
            product("Avoskin", "Miraculous Retinol Serum", 990, 1990),
            product("Avoskin", "Perfect Hydrating Toner", 1290, 2190),
            product("Somethinc", "Niacinamide Barrier Serum", 790, 1490),
            product("Somethinc", "Calm Down Gel Moisturizer", 850, 1290),
            product("Skintific", "5X Ceramide Moisture Gel", 990, 1790),
            product("Skintific", "Mugwort Clay Mask", 690, 1190),
            product("COSRX", "Snail Mucin Essence", 1490, 2590),
            product("COSRX", "Low pH Gel Cleanser", 690, 1390),
            product("Azarine", "Hydrasoothe Sunscreen", 390, 790),
        ],
    },
    Category {
        name: "Makeup",
        products: &[
            product("Wardah", "Matte Lip Cream", 390, 790),
            product("Wardah", "Compact Powder", 450, 990),
            product("Maybelline", "Sky High Mascara", 890, 1490),
            product("Maybelline", "Fit Me Foundation", 990, 1690),
            product("Make Over", "Powerstay Cushion", 1190, 2190),
            product("Make Over", "Liquid Eyeliner", 690, 1190),
            product("Dear Me Beauty", "Airy Poreless Concealer", 790, 1290),
            product("Luxcrime", "Blur & Cover Two Way Cake", 890, 1490),
        ],
    },
    Category {
        name: "Hair Care",
        products: &[
            product("Makarizo", "Hair Energy Shampoo", 290, 690),
            product("Makarizo", "Fibertherapy Hair Mask", 390, 890),
            product("Moroccanoil", "Argan Oil Treatment", 2990, 4990),
            product("Ellips", "Hair Vitamin", 190, 490),
            product("Kerastase", "Nutritive Conditioner", 3490, 5490),
            product("Natur", "Aloe Vera Hair Tonic", 290, 590),
        ],
    },
    Category {
        name: "Bath & Body",
        products: &[
            product("The Body Shop", "Shea Body Butter", 1490, 2490),
            product("The Body Shop", "British Rose Shower Gel", 990, 1690),
            product("Scarlett", "Brightening Body Lotion", 690, 1190),
            product("Scarlett", "Shower Scrub", 690, 1190),
            product("Vaseline", "Healthy Bright Body Serum", 490, 990),
            product("Mustika Ratu", "Body Scrub Bengkoang", 190, 490),
        ],
    },
];
