"""SMS Blossom: self-hosted, event-driven SMS automation for Shopify stores."""
