-- The three roles, made once per cluster by a superuser. Safe to run again.
--   smsblossom_owner    owns the tables, runs migrations          (DATABASE_ADMIN_URL)
--   smsblossom_app      what the service connects as              (DATABASE_URL)
--   smsblossom_sweeper  cannot log in; the app becomes it for one transaction at a time, for work across shops
-- NOINHERIT: without SET ROLE the app has none of the sweeper's rights.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'smsblossom_owner') THEN
        CREATE ROLE smsblossom_owner LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'smsblossom_app') THEN
        CREATE ROLE smsblossom_app LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'smsblossom_sweeper') THEN
        CREATE ROLE smsblossom_sweeper NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    GRANT smsblossom_sweeper TO smsblossom_app;
END
$$;
