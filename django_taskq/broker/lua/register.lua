#!lua
-- register | keys: queues | edges: none
--
-- Gives a queue its short number, once and for all. The last number that was given stands in the
-- field "#", so that none is given again after somebody deleted a queue by hand.
-- ARGV: queue
-- Reply: the number

local number = redis.call('HGET', queues, ARGV[1])
if number then
  redis.call('HSET', queues, ARGV[1], number) -- so that a WAIT behind it covers it
else
  number = (redis.call('HGET', queues, '#') or redis.call('HLEN', queues)) + 1
  redis.call('HSET', queues, ARGV[1], number, '#', number)
end
return tonumber(number)
