//! What the RabbitMQ destination does, a file for each part of it. One program, so that it is linked once.

mod amqp;
mod suite;
