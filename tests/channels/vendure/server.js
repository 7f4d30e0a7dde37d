// Vendure on SQLite, for the tests: one shop on one loopback port, its database in the folder it is
// started in. PORT is where it listens.
// Nothing is told to anybody.
process.env.VENDURE_DISABLE_TELEMETRY = 'true';
const path = require('path');
const { bootstrap, DefaultLogger, LogLevel, dummyPaymentHandler } = require('@vendure/core');

exports.start = () => bootstrap({
  logger: new DefaultLogger({ level: LogLevel.Warn, timestamp: false }),
  apiOptions: {
    hostname: '127.0.0.1',
    port: Number(process.env.PORT),
    adminApiPath: 'admin-api',
    shopApiPath: 'shop-api',
    adminListQueryLimit: 1000,
  },
  authOptions: {
    tokenMethod: ['bearer'],
    superadminCredentials: { identifier: 'superadmin', password: 'superadmin' },
    cookieOptions: { secret: 'tests' },
  },
  dbConnectionOptions: {
    type: 'better-sqlite3',
    // The tables are made once, when the database is filled.
    synchronize: process.env.VENDURE_MAKE_TABLES === 'yes',
    logging: false,
    database: path.join(process.cwd(), 'vendure.sqlite'),
  },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  customFields: {
    ProductVariant: [
      // What an agent may leave with a variant: how new what it wrote is, and which write it was.
      { name: 'sourceVersion', type: 'int', nullable: true, public: false },
      { name: 'idempotencyKey', type: 'string', nullable: true, public: false },
    ],
  },
  plugins: [],
});

if (require.main === module) {
  exports.start().then(() => console.log('READY'), (error) => {
    console.error(error);
    process.exit(1);
  });
}
