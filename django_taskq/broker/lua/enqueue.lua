#!lua
-- enqueue | keys: jobs live ready scheduled wake timer meta | edges: new->ready new->scheduled
--
-- Takes N jobs in. No flag: a full Redis refuses the call before anything is written.
-- ARGV: now, then per job: id, envelope, priority, due, expires_in
--   due: 0 at once, > 0 a time in ms, < 0 so many ms from now; expires_in: ms or 0
-- Reply: a string with a letter per job: N new, E its id existed and nothing was done
-- Sending the call again does nothing twice: an existing id is never overwritten.

-- One job, at once, with nothing set: what most calls are. It needs none of what follows, whose
-- functions and clock would take a third of its time.
if #ARGV == 6 and ARGV[4] == '0' and ARGV[5] == '0' and ARGV[6] == '0' then
  if redis.call('HSETNX', jobs, ARGV[2], ARGV[3]) == 0 then return 'E' end
  redis.call('ZADD', ready, redis.call('HINCRBY', meta, 'seq', 1), ARGV[2])
  if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
  return 'N'
end

-- common.lua

return table.concat(take_in(clock(ARGV[1]), ARGV, 2))
