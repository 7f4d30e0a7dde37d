//! What event types are called where a person reads: on screens, in alarms, in sentences.

use crate::event::EventType;

impl EventType {
    /// What its events are about, as the business calls it, to begin a sentence with.
    pub fn title(self) -> &'static str {
        match self {
            Self::InventoryAvailability => "Stock",
            Self::InventoryMovement => "Stock movements",
            Self::Product => "Products",
            Self::Price => "Prices",
            Self::Customer => "Customers",
            Self::Order => "Orders",
            Self::Shipment => "Shipments",
            Self::Return => "Returns",
            Self::PurchaseOrder => "Purchase orders",
            Self::PurchaseReceipt => "Goods receipts",
        }
    }

    /// Whether its title is one of many: orders are late, stock is late.
    pub fn is_plural(self) -> bool {
        self != Self::InventoryAvailability
    }

    /// What one of its keys, and what several of them, are called.
    pub fn things(self) -> (&'static str, &'static str) {
        match self {
            Self::InventoryAvailability => ("SKU", "SKUs"),
            Self::InventoryMovement => ("stock movement", "stock movements"),
            Self::Product => ("product", "products"),
            Self::Price => ("price", "prices"),
            Self::Customer => ("customer", "customers"),
            Self::Order => ("order", "orders"),
            Self::Shipment => ("shipment", "shipments"),
            Self::Return => ("return", "returns"),
            Self::PurchaseOrder => ("purchase order", "purchase orders"),
            Self::PurchaseReceipt => ("goods receipt", "goods receipts"),
        }
    }

    /// What is counted of a key of this type: of stock its SKU, wherever it lies; else the key.
    pub fn thing(self, key: &str) -> &str {
        match (self, key.split('|').nth(1)) {
            (Self::InventoryAvailability, Some(sku)) => sku,
            _ => key,
        }
    }
}
