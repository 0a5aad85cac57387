#!lua
-- edit | keys: jobs ready running scheduled retrying waiting succeeded dead cancelled events | edges: none
--
-- Gives a job that is not running other arguments: another envelope in the place of the one that the
-- operator saw. No flag: it may make a job larger, so a full Redis refuses it.
-- ARGV: id, SHA-1 of the envelope that was seen, envelope
-- Reply: O it has that envelope, R it is running, C somebody changed it meanwhile, U unknown
-- Sending the call again changes nothing more.

local id, seen, envelope = ARGV[1], ARGV[2], ARGV[3]
local old = redis.call('HGET', jobs, id)
if not old then return 'U' end
if old == envelope then return 'O' end
if redis.call('ZSCORE', running, id) then return 'R' end
if redis.sha1hex(old) ~= seen then return 'C' end
local there = false
for _, set in ipairs({ ready, scheduled, retrying, waiting, succeeded, dead, cancelled }) do
  there = there or redis.call('ZSCORE', set, id)
end
if not there then return 'U' end
redis.call('HSET', jobs, id, envelope)
note({ id })
return 'O'
