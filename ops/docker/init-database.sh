#!/usr/bin/env bash
# Run once by the postgres image after roles.sql: passwords for the two log-ins, and the database.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v owner_password="$OWNER_DB_PASSWORD" -v app_password="$APP_DB_PASSWORD" \
  --username "$POSTGRES_USER" --dbname postgres <<'SQL'
ALTER ROLE smsblossom_owner PASSWORD :'owner_password';
ALTER ROLE smsblossom_app PASSWORD :'app_password';
CREATE DATABASE smsblossom OWNER smsblossom_owner;
SQL
