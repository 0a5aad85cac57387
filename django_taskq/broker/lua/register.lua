#!lua
-- register | keys: queues | edges: none
--
-- Gives a queue its short number, once and for all.
-- ARGV: queue
-- Reply: the number

local number = redis.call('HGET', queues, ARGV[1]) or redis.call('HLEN', queues) + 1
redis.call('HSET', queues, ARGV[1], number) -- also a known one: a WAIT behind it then covers it
return tonumber(number)
