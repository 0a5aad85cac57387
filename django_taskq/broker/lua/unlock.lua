#!lua flags=allow-oom
-- unlock | keys: asks locks calls answers | edges: none
--
-- Takes the lock that a job asks for away from the job that has it, so that another can be enqueued.
-- What that job does goes on; its end, and what it takes when it waits again, is as without it.
-- ARGV: now, token of the call, the job that was seen to have it, the job that asks for it
-- Reply: O nobody has it now, G that job does not have it any more, U no such job asks for one
-- Sending the call again takes nothing away that was taken since, and answers the same.

local now, token, owner, id = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local given = redis.call('HGET', answers, token)
if given then return given end
local ask = asks_of({ id })[id]
if not ask or ask.lock == '' then return 'U' end
if locked_by(redis.call('HGET', locks, ask.lock), now) ~= owner then return 'G' end
redis.call('HDEL', locks, ask.lock)
remember(calls, answers, token, now, 'O')
return 'O'
