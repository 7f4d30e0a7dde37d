// Medusa for the tests: its Admin API alone, on the database that DATABASE_URL names.
const { defineConfig } = require('@medusajs/framework/utils');

module.exports = defineConfig({
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { ssl: false, connection: { ssl: false } },
    http: {
      storeCors: '*',
      adminCors: '*',
      authCors: '*',
      jwtSecret: 'tests'.repeat(8),
      cookieSecret: 'tests'.repeat(8),
    },
  },
  admin: { disable: true },
});
