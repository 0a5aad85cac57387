#!lua
-- register | keys: queues | edges: none
--
-- Gives a queue its short number, once and for all.
-- ARGV: queue
-- Reply: the number

local number = redis.call('HGET', queues, ARGV[1])
if not number then
  number = redis.call('HLEN', queues) + 1
  redis.call('HSET', queues, ARGV[1], number)
end
return tonumber(number)
