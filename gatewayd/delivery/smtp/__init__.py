"""The SMTP client: sessions, transactions, and the pool between them. Landlord of aiosmtplib."""
